#include "parallel/grid.hpp"
#include "support/mpi_main.hpp"
#include "support/support.hpp"

namespace skymm {
namespace {

using testing::ranks;

TEST(GridOnRanks, GroupsHoldWhoTheirNamesSay) {
  for (const GridShape& shape : grids_of(ranks().size(), ranks().size())) {
    for (const GridOrder order : {GridOrder::pipeline_inside, GridOrder::data_inside}) {
      const Grid grid(ranks(), shape, order);
      EXPECT_EQ(grid.data().size(), shape.data);
      EXPECT_EQ(grid.data().rank(), grid.place().data);
      EXPECT_EQ(grid.pipeline().size(), shape.pipeline);
      EXPECT_EQ(grid.pipeline().rank(), grid.place().stage);
      // Each rank tells its stage to those of its data group, and its data rank to those of its pipeline.
      const Tensor stages = Tensor::full({1}, DType::f64, grid.place().stage);
      grid.data().all_reduce(stages);
      EXPECT_EQ(stages.item(), shape.data * grid.place().stage);
      const Tensor data = Tensor::full({1}, DType::f64, grid.place().data);
      grid.pipeline().all_reduce(data);
      EXPECT_EQ(data.item(), shape.pipeline * grid.place().data);
    }
  }
}

TEST(GridOnRanks, TheTableHasALineARank) {
  const Grid grid(ranks(), {ranks().size(), 1}, GridOrder::pipeline_inside);
  const std::string table = grid.table();
  EXPECT_EQ(std::ranges::count(table, '\n'), ranks().size() + 1);
}

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) { return skymm::testing::run_mpi_tests(argc, argv); }
