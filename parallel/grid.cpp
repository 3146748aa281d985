#include "parallel/grid.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>

#include "core/error.hpp"
#include "parallel/gather_text.hpp"

namespace skymm {
namespace {

std::string host_name() {
  std::array<char, 256> host{};
  return gethostname(host.data(), host.size() - 1) == 0 ? host.data() : "?";
}

std::string list_of_grids(int ranks, int most_stages) {
  std::string text;
  for (const GridShape& shape : grids_of(ranks, most_stages)) {
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", shape.data, shape.pipeline);
  }
  return text;
}

}  // namespace

GridPlace place_of(const GridShape& shape, GridOrder order, int rank) {
  if (order == GridOrder::pipeline_inside) return {rank / shape.pipeline, rank % shape.pipeline};
  return {rank % shape.data, rank / shape.data};
}

int rank_of(const GridShape& shape, GridOrder order, GridPlace place) {
  if (order == GridOrder::pipeline_inside) return place.data * shape.pipeline + place.stage;
  return place.stage * shape.data + place.data;
}

int replicas_on_node(const GridShape& shape, GridOrder order, int ranks_per_node) {
  std::map<std::pair<int, int>, int> replicas;  // by node and stage
  for (int rank = 0; rank < shape.size(); ++rank) {
    ++replicas[{rank / std::max(1, ranks_per_node), place_of(shape, order, rank).stage}];
  }
  return std::ranges::min_element(replicas, {}, [](const auto& entry) { return entry.second; })->second;
}

std::vector<GridShape> grids_of(int ranks, int most_stages) {
  std::vector<GridShape> shapes;
  for (int stages = 1; stages <= std::min(ranks, most_stages); ++stages) {
    if (ranks % stages == 0) shapes.push_back({ranks / stages, stages});
  }
  return shapes;
}

GridShape resolve_grid(int ranks, int data, int pipeline, int most_stages) {
  check(pipeline >= 1 && data >= 0, "a grid of {} data-parallel x {} pipeline ranks cannot be", data, pipeline);
  check(
      pipeline <= most_stages,
      "a pipeline of {} stages is longer than the model, which can be cut into {} at most; grids of {} ranks that fit "
      "(data x pipeline): {}",
      pipeline, most_stages, ranks, list_of_grids(ranks, most_stages));
  const GridShape shape{data > 0 ? data : std::max(1, ranks / pipeline), pipeline};
  check(shape.size() == ranks,
        "a grid of {} data-parallel x {} pipeline ranks has {} ranks, but the job has {}; grids that fit (data x "
        "pipeline): {}",
        shape.data, shape.pipeline, shape.size(), ranks, list_of_grids(ranks, most_stages));
  return shape;
}

Grid::Grid(Communicator& world, const GridShape& shape, GridOrder order)
    : world_(world), shape_(shape), place_(place_of(shape, order, world.rank())) {
  check(shape.size() == world.size(), "a grid of {} x {} ranks does not hold the {} ranks of the job", shape.data,
        shape.pipeline, world.size());
  data_ = world.split(place_.stage, place_.data, fmt::format("data {}", place_.stage));
  pipeline_ = world.split(place_.data, place_.stage, fmt::format("pipeline {}", place_.data));
  data_->prepare(Communicator::Traffic::collectives);
  pipeline_->prepare(Communicator::Traffic::messages);
}

std::string Grid::table() const {
  const std::vector<std::string> lines = gather_text(
      world_, fmt::format("  {:>5} {:>5} {:>6}  {}\n", world_.rank(), place_.data, place_.stage, host_name()));
  std::string table = fmt::format("  {:>5} {:>5} {:>6}  {}\n", "rank", "data", "stage", "host");
  for (const std::string& line : lines) table += line;
  return table;
}

}  // namespace skymm
