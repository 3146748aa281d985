// The ranks of a job as a grid: data parallel x pipeline (x tensor, reserved: 1).
//
// Ranks of one pipeline hold different pieces of the model and work on the same samples; ranks of one data-parallel
// group hold the same pieces and work on different samples.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/communicator.hpp"

namespace skymm {

struct GridShape {
  int data = 1, pipeline = 1;
  static constexpr int tensor = 1;
  int size() const { return data * pipeline * tensor; }
  bool operator==(const GridShape&) const = default;
};

// Which neighbours are consecutive ranks, and so usually on one node.
enum class GridOrder : std::uint8_t { pipeline_inside, data_inside };

struct GridPlace {
  int data = 0, stage = 0;
};
GridPlace place_of(const GridShape& shape, GridOrder order, int rank);
int rank_of(const GridShape& shape, GridOrder order, GridPlace place);

// Of the ranks of a stage, which hold the same pieces, how many are on one node of `ranks_per_node` consecutive ranks:
// where they are fewest.
int replicas_on_node(const GridShape& shape, GridOrder order, int ranks_per_node);

// All shapes of so many ranks whose pipeline is at most `most_stages` long.
std::vector<GridShape> grids_of(int ranks, int most_stages);

// Data-parallel ranks follow from the rest where `data` is 0. Throws Error that lists the grids that fit where this one
// does not: the product is not the number of ranks, or there are more stages than blocks to give them.
GridShape resolve_grid(int ranks, int data, int pipeline, int most_stages);

class Grid {
 public:
  Grid(Communicator& world, const GridShape& shape, GridOrder order);

  const GridShape& shape() const { return shape_; }
  GridPlace place() const { return place_; }
  bool first_stage() const { return place_.stage == 0; }
  bool last_stage() const { return place_.stage + 1 == shape_.pipeline; }

  Communicator& world() const { return world_; }
  Communicator& data() const { return *data_; }          // the ranks that hold the same pieces; rank: place().data
  Communicator& pipeline() const { return *pipeline_; }  // the stages of one pipeline; rank: place().stage

  // A line a rank: rank, host, data-parallel rank, stage. Collective.
  std::string table() const;

 private:
  Communicator& world_;
  GridShape shape_;
  GridPlace place_;
  std::unique_ptr<Communicator> data_, pipeline_;
};

}  // namespace skymm
