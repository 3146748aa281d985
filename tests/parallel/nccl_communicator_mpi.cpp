// What is NCCL's own; what it shares with MPI is in communicator_mpi.cpp and asynchronous_mpi.cpp.
#include "parallel/nccl_communicator.hpp"
#include "support/rank_tensors.hpp"
#include "support/text.hpp"

namespace skymm::testing {
namespace {

std::unique_ptr<Communicator> connected(Device& device, Transport transport) {
  MPI_Comm comm;
  MPI_Comm_dup(MPI_COMM_WORLD, &comm);
  return connect(std::make_unique<MpiCommunicator>(comm, "connected"), device, transport);
}

TEST(Transports, AreChosenByTheDevice) {
  EXPECT_EQ(dynamic_cast<NcclCommunicator*>(connected(cpu(), Transport::automatic).get()), nullptr);
  EXPECT_THAT(error_of([] { connected(cpu(), Transport::nccl); }), ::testing::HasSubstr("compute on the cpu"));
  EXPECT_THAT(error_of([] { parse_transport("pigeon"); }), ::testing::HasSubstr("auto, mpi or nccl"));
  if (!tests_nccl()) return;
  EXPECT_EQ(dynamic_cast<NcclCommunicator*>(connected(tested_device(), Transport::mpi).get()), nullptr);
  EXPECT_NE(dynamic_cast<NcclCommunicator*>(connected(tested_device(), Transport::nccl).get()), nullptr);
  const bool real = !tested_device().is_emulated();
  EXPECT_EQ(dynamic_cast<NcclCommunicator*>(connected(tested_device(), Transport::automatic).get()) != nullptr, real);
}

class Nccl : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!tests_nccl()) GTEST_SKIP() << "the ranks have no NCCL";
    cpu().allocator().reset_peak();
  }
  // The most of the host's memory that messages took since.
  static std::size_t host_bytes() { return cpu().allocator().use(Purpose::communication).peak; }
};

TEST_F(Nccl, LeavesTheHostsMemoryAlone) {
  const int size = ranks().size(), rank = ranks().rank();
  const Tensor x = of_rank(rank, 6000 * size, DType::bf16), y = x.clone(), shard = zeros({6000}, DType::bf16);
  ranks().all_reduce(x);
  ranks().reduce_scatter(x, shard);
  ranks().all_gather(shard, x);
  ranks().all_to_all(x, y);
  ranks().broadcast(x, 1);
  Handle arrives = ranks().irecv(shard, (rank + size - 1) % size);
  ranks().send(y.slice(0, 0, 6000), (rank + 1) % size);
  arrives.wait();
  EXPECT_LT(host_bytes(), shard.bytes());
}

TEST_F(Nccl, LeavesToMpiWhatItIsNotPreparedFor) {
  const std::unique_ptr<Communicator> part = ranks().split(0, ranks().rank(), "unprepared");
  const Tensor x = full({50000}, DType::f32, 1), host = Tensor::full({7}, DType::f32, 2);
  part->all_reduce(x);
  ranks().all_reduce(host);
  EXPECT_GE(host_bytes(), x.bytes());
  EXPECT_EQ(x.to_vector(), std::vector<float>(50000, static_cast<float>(ranks().size())));
  EXPECT_EQ(host.to_vector(), std::vector<float>(7, 2.0F * static_cast<float>(ranks().size())));
}

// A message that nobody receives yet holds up neither the other direction nor a sum.
TEST_F(Nccl, LetsNothingWaitBehindAMessage) {
  const int size = ranks().size(), next = (ranks().rank() + 1) % size, last = (ranks().rank() + size - 1) % size;
  const Tensor sent = of_rank(ranks().rank(), 5000, DType::f32), back = of_rank(7 + ranks().rank(), 5000, DType::f32);
  const Tensor x = zeros({5000}, DType::f32), y = zeros({5000}, DType::f32), sum = full({9}, DType::f32, 1);
  Handle forwards = ranks().isend(sent, next, 1), backwards = ranks().isend(back, last, 2);
  ranks().all_reduce(sum);
  ranks().recv(x, last, 1);  // first: of two ranks both came the same way
  ranks().recv(y, next, 2);
  EXPECT_EQ(sum.to_vector(), std::vector<float>(9, static_cast<float>(size)));
  EXPECT_EQ(x.to_vector(), of_rank(last, 5000, DType::f32).to_vector());
  EXPECT_EQ(y.to_vector(), of_rank(7 + next, 5000, DType::f32).to_vector());
}

}  // namespace
}  // namespace skymm::testing

int main(int argc, char** argv) { return skymm::testing::run_mpi_tests(argc, argv); }
