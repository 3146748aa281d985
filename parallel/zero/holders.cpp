#include "parallel/zero/holders.hpp"

#include <algorithm>
#include <map>
#include <sstream>

#include "core/error.hpp"
#include "parallel/gather_text.hpp"

namespace skymm {
namespace {

// A line a slice: begin, end, rank of the shape, its dimensions, name.
std::string written(const std::vector<Slice>& slices) {
  std::string text;
  for (const Slice& slice : slices) {
    text += fmt::format("{} {} {}", slice.begin, slice.end, slice.shape.rank());
    for (const std::int64_t dim : slice.shape) text += fmt::format(" {}", dim);
    text += fmt::format(" {}\n", slice.tensor);
  }
  return text;
}

std::vector<Slice> read(const std::string& text) {
  std::vector<Slice> slices;
  std::istringstream in(text);
  Slice slice;
  for (int rank = 0; in >> slice.begin >> slice.end >> rank;) {
    slice.shape = {};
    for (std::int64_t dim = 0; rank > 0 && in >> dim; --rank) slice.shape.push_back(dim);
    std::getline(in >> std::ws, slice.tensor);
    slices.push_back(slice);
  }
  return slices;
}

// Holders are in the order of elements: those that repeat what a speaker holds stay silent.
void choose_speakers(SpreadTensor& tensor) {
  std::int64_t covered = 0;
  for (Holder& holder : tensor.holders) {
    check(holder.slice.begin <= covered, "no rank holds the elements {} to {} of {}", covered, holder.slice.begin,
          tensor.name);
    holder.speaks = holder.slice.begin == covered && holder.slice.end > covered;
    check(holder.speaks || holder.slice.end <= covered, "rank {} holds a slice of {} that overlaps another rank's",
          holder.rank, tensor.name);
    covered = std::max(covered, holder.slice.end);
  }
  check(covered == tensor.shape.numel(), "no rank holds the elements of {} from {} on", tensor.name, covered);
}

}  // namespace

std::vector<SpreadTensor> spread_tensors(const std::vector<Slice>& mine, Communicator& world) {
  const std::vector<std::string> texts = gather_text(world, written(mine));
  std::map<std::string, SpreadTensor> by_name;
  for (int rank = 0; rank < world.size(); ++rank) {
    for (Slice& slice : read(texts[static_cast<std::size_t>(rank)])) {
      SpreadTensor& tensor = by_name[slice.tensor];
      if (tensor.holders.empty()) {
        tensor.name = slice.tensor;
        tensor.shape = slice.shape;
      } else {
        check(tensor.shape == slice.shape, "{} has shape {} on rank {} but {} on rank {}", tensor.name, slice.shape,
              rank, tensor.shape, tensor.holders[0].rank);
      }
      tensor.holders.push_back({rank, std::move(slice)});
    }
  }
  std::vector<SpreadTensor> tensors;
  for (auto& [name, tensor] : by_name) {
    std::ranges::stable_sort(tensor.holders, {}, [](const Holder& holder) { return holder.slice.begin; });
    choose_speakers(tensor);
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace skymm
