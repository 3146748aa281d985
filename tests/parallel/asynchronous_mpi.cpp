#include <functional>
#include <random>

#include "parallel/ledger.hpp"
#include "support/rank_tensors.hpp"

namespace skymm::testing {
namespace {

std::unique_ptr<Communicator> split(const char* name) {
  std::unique_ptr<Communicator> part = ranks().split(0, ranks().rank(), name);
  part->prepare(Communicator::Traffic::collectives);
  return part;
}

// A collective, asynchronous and blocking: from x of any values to what this rank gets.
struct Case {
  const char* name;
  std::function<Handle(const Tensor& x, const Tensor& y)> begin;
  std::function<void(const Tensor& x, const Tensor& y)> call;
};

std::vector<Case> cases() {
  const auto part = [](const Tensor& x) { return x.numel() / ranks().size(); };
  const auto shard = [part](const Tensor& x) { return x.slice(0, 0, part(x)); };
  return {
      {"all_reduce", [](const Tensor&, const Tensor& y) { return ranks().iall_reduce(y); },
       [](const Tensor&, const Tensor& y) { ranks().all_reduce(y); }},
      {"reduce_scatter", [shard](const Tensor& x, const Tensor& y) { return ranks().ireduce_scatter(x, shard(y)); },
       [shard](const Tensor& x, const Tensor& y) { ranks().reduce_scatter(x, shard(y)); }},
      {"all_gather", [shard](const Tensor& x, const Tensor& y) { return ranks().iall_gather(shard(x), y); },
       [shard](const Tensor& x, const Tensor& y) { ranks().all_gather(shard(x), y); }},
      {"all_to_all", [](const Tensor& x, const Tensor& y) { return ranks().iall_to_all(x, y); },
       [](const Tensor& x, const Tensor& y) { ranks().all_to_all(x, y); }},
      {"broadcast", [](const Tensor&, const Tensor& y) { return ranks().ibroadcast(y, ranks().size() - 1); },
       [](const Tensor&, const Tensor& y) { ranks().broadcast(y, ranks().size() - 1); }},
  };
}

TEST(AsynchronousCollectives, GiveTheBitsOfTheBlockingOnes) {
  const int size = ranks().size(), rank = ranks().rank();
  for (const std::int64_t piece : {std::int64_t{1} << 30, std::int64_t{60000}}) {
    const SmallMessages small(piece);
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const std::int64_t n : std::vector<std::int64_t>{0, 1, 700, many(700001)}) {
        for (const Case& c : cases()) {
          SCOPED_TRACE(fmt::format("{} of {} elements of {} a rank, pieces of {}", c.name, n, name_of(dtype), piece));
          const Tensor x = of_rank(rank, n * size, dtype), y = of_rank(rank, n * size, dtype), z = y.clone();
          Handle handle = c.begin(x, y);
          while (!handle.test()) {
          }
          c.call(x, z);
          EXPECT_EQ(y.to_vector(), z.to_vector());
        }
      }
    }
  }
}

// Every collective that there is, with messages around a ring, all under way at once; finished in an order that differs
// from rank to rank.
TEST(AsynchronousCollectives, AreUnderWayTogetherAndFinishInAnyOrder) {
  const int size = ranks().size(), rank = ranks().rank();
  const std::int64_t n = many(40003);
  std::mt19937 shuffle(static_cast<unsigned>(rank));
  for (int repeat = 0; repeat < 5; ++repeat) {
    std::vector<Tensor> got, expected;
    std::vector<Handle> handles;
    const Tensor x = of_rank(rank + repeat, n * size, DType::f32);
    for (const Case& c : cases()) {
      got.push_back(x.clone());
      handles.push_back(c.begin(x, got.back()));
    }
    const Tensor from_last = zeros({n}, DType::f32);
    handles.push_back(ranks().irecv(from_last, (rank + size - 1) % size, 3));
    handles.push_back(ranks().isend(of_rank(rank, n, DType::f32), (rank + 1) % size, 3));
    std::shuffle(handles.begin(), handles.end(), shuffle);
    wait_all(handles);
    EXPECT_TRUE(handles.empty());
    EXPECT_EQ(from_last.to_vector(), of_rank((rank + size - 1) % size, n, DType::f32).to_vector());
    for (const Case& c : cases()) {
      expected.push_back(x.clone());
      c.call(x, expected.back());
    }
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i].to_vector(), expected[i].to_vector());
  }
}

// Rank 0 waits for a message that rank 1 sends only after their sum: the sum must go on while rank 0 waits.
TEST(AsynchronousCollectives, GoOnWhileTheirRankWaitsForSomethingElse) {
  const Tensor x = full({many(300000)}, DType::f32, 1), y = zeros({9}, DType::f32);
  Handle sum = ranks().iall_reduce(x);
  if (ranks().rank() == 0) ranks().recv(y, 1);
  sum.wait();
  if (ranks().rank() == 1) ranks().send(full({9}, DType::f32, 4), 0);
  EXPECT_EQ(y.to_vector(), std::vector<float>(9, ranks().rank() == 0 ? 4.0F : 0.0F));
  EXPECT_EQ(x.to_vector(), std::vector<float>(many(300000), static_cast<float>(ranks().size())));
}

TEST(AsynchronousCollectives, FinishByPollingAlone) {
  const Tensor x = full({many(300000)}, DType::f32, 1);
  const std::int64_t expected = static_cast<std::int64_t>(x.bytes()) * (ranks().size() - 1) / ranks().size();
  const std::int64_t before = ranks().counts().of(CallKind::all_reduce).sent;  // it may be complete when it has begun
  Handle sum = ranks().iall_reduce(x);
  // Bytes are booked when a call is complete.
  while (ranks().counts().of(CallKind::all_reduce).sent == before) ranks().poll();
  EXPECT_TRUE(sum.test());
  EXPECT_NEAR(static_cast<double>(ranks().counts().of(CallKind::all_reduce).sent - before),
              2.0 * static_cast<double>(expected), 4.0 * ranks().size());
}

TEST(AsynchronousCollectives, OutliveTheirCommunicator) {
  auto part = split("short-lived");
  const Tensor x = full({5000}, DType::f32, 2);
  Handle sum = part->iall_reduce(x);
  part.reset();
  sum.wait();
  EXPECT_EQ(x.to_vector()[4999], 2.0F * static_cast<float>(ranks().size()));
}

// Volumes of the formulae: a ring or a direct exchange moves (p - 1) / p of the whole each way.
TEST(CommunicationCounts, FollowTheFormulae) {
  const int size = ranks().size();
  const auto part = split("counted");
  const std::int64_t n = 6000, bytes = 4 * n;
  const Tensor x = zeros({n * size}, DType::f32), shard = zeros({n}, DType::f32);
  part->reduce_scatter(x, shard);
  part->all_gather(shard, x);
  part->all_reduce(x);
  part->all_to_all(x, x.clone());
  const CommunicationCounts counts = part->counts();
  for (const auto& [kind, parts] : {std::pair(CallKind::reduce_scatter, 1),
                                    {CallKind::all_gather, 1},
                                    {CallKind::all_to_all, 1},
                                    {CallKind::all_reduce, 2}}) {
    SCOPED_TRACE(name_of(kind));
    EXPECT_EQ(counts.of(kind).calls, 1);
    EXPECT_EQ(counts.of(kind).sent, parts * (size - 1) * bytes);
    EXPECT_EQ(counts.of(kind).received, parts * (size - 1) * bytes);
  }
  EXPECT_EQ(counts.bytes(), 2 * 5 * (size - 1) * bytes);
  EXPECT_GE(communication_counts().bytes(), counts.bytes());
}

TEST(CommunicationCounts, BookTheWaitForARankThatComesLate) {
  const bool late = ranks().rank() + 1 == ranks().size();
  const auto part = split("awaited");
  part->barrier();
  const double before = part->counts().of(CallKind::barrier).blocked;
  if (late) std::this_thread::sleep_for(std::chrono::milliseconds(300));
  part->barrier();
  EXPECT_TRUE(late || part->counts().of(CallKind::barrier).blocked > before);
}

}  // namespace
}  // namespace skymm::testing

int main(int argc, char** argv) { return skymm::testing::run_mpi_tests(argc, argv); }
