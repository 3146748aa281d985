#include <cstring>
#include <functional>

#include "core/error.hpp"
#include "support/rank_tensors.hpp"

namespace skymm::testing {
namespace {

// The sum as documented: in rank order, in f32, rounded once.
template <class T>
std::vector<T> expected_sum(std::int64_t n, DType dtype) {
  std::vector<float> sum = of_rank(0, n, dtype).to_vector();
  for (int r = 1; r < ranks().size(); ++r) {
    const std::vector<float> x = of_rank(r, n, dtype).to_vector();
    for (std::int64_t i = 0; i < n; ++i) sum[i] += x[i];
  }
  return Tensor::from(sum, {n}).to(dtype).to_vector<T>();
}

TEST(Communicators, SumsInRankOrderToTheBit) {
  for (const std::int64_t piece : {std::int64_t{1} << 30, std::int64_t{1000}}) {
    const SmallMessages small(piece);
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const std::int64_t n : std::vector<std::int64_t>{0, 1, 2, 5, 2047, 2048, 2053, many(300001)}) {
        SCOPED_TRACE(fmt::format("{} elements of {}, pieces of {}", n, name_of(dtype), piece));
        const Tensor x = of_rank(ranks().rank(), n, dtype);
        ranks().all_reduce(x);
        EXPECT_EQ(x.to_vector(), expected_sum<float>(n, dtype));
      }
    }
  }
}

TEST(Communicators, SumsWideTypesInTheirOwn) {
  const int size = ranks().size();
  const Tensor counts = full({3}, DType::i64, 0);
  counts.fill(static_cast<double>((std::int64_t{1} << 40) + ranks().rank()));
  ranks().all_reduce(counts);
  EXPECT_EQ(counts.to_vector<std::int64_t>()[2], size * (std::int64_t{1} << 40) + size * (size - 1) / 2);
  const Tensor norm = full({1}, DType::f64, 1 + 1e-12);
  ranks().all_reduce(norm);
  EXPECT_NEAR(norm.item(), size * (1 + 1e-12), 1e-15);
}

TEST(Communicators, ReduceScatterIsAPartOfTheSum) {
  const int size = ranks().size(), rank = ranks().rank();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const std::int64_t n : {1, 7, 70001}) {
      const SmallMessages small(n == 7 ? 6 : 100000);
      const std::vector<float> sum = expected_sum<float>(n * size, dtype);
      const std::vector<float> mine(sum.begin() + rank * n, sum.begin() + (rank + 1) * n);
      const Tensor x = of_rank(rank, n * size, dtype), shard = zeros({n}, dtype);
      ranks().reduce_scatter(x, shard);
      EXPECT_EQ(shard.to_vector(), mine);
      ranks().reduce_scatter(x, x.slice(0, rank * n, (rank + 1) * n));  // in place
      EXPECT_EQ(x.slice(0, rank * n, (rank + 1) * n).to_vector(), mine);
    }
  }
}

TEST(Communicators, MovesBytesOfEveryType) {
  const int size = ranks().size(), rank = ranks().rank();
  for (const std::int64_t piece : {std::int64_t{1} << 30, std::int64_t{3}}) {
    const SmallMessages small(piece);
    const Tensor shard = full({2, 2}, DType::i32, rank + 1);
    const Tensor all = zeros({size, 2, 2}, DType::i32);
    ranks().all_gather(shard, all);
    const Tensor sent = zeros({size, 3}, DType::u8), got = zeros({size, 3}, DType::u8);
    for (int r = 0; r < size; ++r) sent.slice(0, r, r + 1).fill(10 * rank + r);
    ranks().all_to_all(sent, got);
    for (int r = 0; r < size; ++r) {
      EXPECT_EQ(all.slice(0, r, r + 1).to_vector<int>(), std::vector<int>(4, r + 1));
      EXPECT_EQ(got.slice(0, r, r + 1).to_vector<int>(), std::vector<int>(3, 10 * r + rank));
    }
    const Tensor x = full({11}, DType::bf16, rank == size - 1 ? 5 : 0);
    ranks().broadcast(x, size - 1);
    EXPECT_EQ(x.to_vector(), std::vector<float>(11, 5.0F));
  }
}

TEST(Communicators, PassesTensorsAroundARing) {
  const int size = ranks().size(), rank = ranks().rank();
  for (const std::int64_t piece : {std::int64_t{1} << 30, std::int64_t{40}}) {
    const SmallMessages small(piece);
    const int next = (rank + 1) % size, last = (rank + size - 1) % size;
    const Tensor a = full({50}, DType::f32, rank), b = full({0}, DType::f32, 0);
    const Tensor x = zeros({50}, DType::f32), y = zeros({0}, DType::f32);
    Handle empty = ranks().irecv(y, last, 8), received = ranks().irecv(x, last, 7);
    Handle sent = ranks().isend(a, next, 7), sent_empty = ranks().isend(b, next, 8);
    while (!received.test()) {
    }
    empty.wait();
    EXPECT_EQ(x.to_vector(), std::vector<float>(50, static_cast<float>(last)));
  }
}

TEST(Communicators, TellMessagesOfAPairApartByTheirTags) {
  const int size = ranks().size(), next = (ranks().rank() + 1) % size, last = (ranks().rank() + size - 1) % size;
  const Tensor first = full({40}, DType::f32, 1), second = full({50}, DType::f32, 2);
  const Tensor x = zeros({40}, DType::f32), y = zeros({50}, DType::f32);
  std::vector<Handle> handles;
  handles.push_back(ranks().isend(first, next, 1));
  handles.push_back(ranks().isend(second, next, 2));
  handles.push_back(ranks().irecv(y, last, 2));
  handles.push_back(ranks().irecv(x, last, 1));
  wait_all(handles);
  EXPECT_EQ(x.to_vector(), std::vector<float>(40, 1.0F));
  EXPECT_EQ(y.to_vector(), std::vector<float>(50, 2.0F));
}

TEST(Communicators, NamesAMessageOfAnotherSize) {
  const int rank = ranks().rank();
  if (tests_nccl()) GTEST_SKIP() << "the sender waits for ever then, and the job ends";
  for (const std::int64_t sent : {3, 9}) {
    if (rank == 0) ranks().send(zeros({sent}, DType::f32), 1);
    if (rank != 1) continue;
    try {
      ranks().recv(zeros({6}, DType::f32), 0);
      ADD_FAILURE() << "took " << sent << " elements for 6";
    } catch (const Error& error) {
      EXPECT_THAT(error.message(), ::testing::HasSubstr("rank 0 sent"));
      EXPECT_THAT(error.message(), ::testing::HasSubstr(sent == 3 ? "12 bytes" : "more than the 24 bytes"));
    }
  }
}

TEST(Communicators, RefusesWrongBuffersBeforeItTalks) {
  const int size = ranks().size();
  const Tensor x = zeros({size, 3}, DType::f32);
  EXPECT_THROW(ranks().all_reduce(zeros({3, 3}, DType::f32).transpose(0, 1)), Error);
  EXPECT_THROW(ranks().reduce_scatter(x, zeros({4}, DType::f32)), Error);
  EXPECT_THROW(ranks().reduce_scatter(x, zeros({3}, DType::bf16)), Error);
  EXPECT_THROW(ranks().all_to_all(x, x), Error);
  EXPECT_THROW(ranks().all_to_all(zeros({size + 1}, DType::u8), zeros({size + 1}, DType::u8)), Error);
  EXPECT_THROW(ranks().broadcast(x, size), Error);
  EXPECT_THROW(ranks().send(x, size), Error);
  EXPECT_THROW(ranks().send(x, 0, -1), Error);
}

TEST(Communicators, SplitsByColorAndOrdersByKey) {
  const int size = ranks().size(), rank = ranks().rank();
  const auto reversed = ranks().split(0, -rank);
  EXPECT_EQ(reversed->size(), size);
  EXPECT_EQ(reversed->rank(), size - 1 - rank);
  const auto parity = ranks().split(rank % 2, 0);
  EXPECT_EQ(parity->size(), (size + 1 - rank % 2) / 2);
  const Tensor x = full({1}, DType::f32, 1);
  parity->all_reduce(x);
  EXPECT_EQ(x.item(), parity->size());
}

TEST(Communicators, NamesItselfAndItsParts) {
  EXPECT_EQ(ranks().name(), "world");
  EXPECT_EQ(ranks().split(0, 0, "data 3")->name(), "data 3");
  const int parity = ranks().rank() % 2;
  EXPECT_EQ(ranks().split(parity, 0)->name(), fmt::format("world part {}", parity));
}

// Every collective, its like of another shape, and another in its place: all ranks throw, and go on unharmed.
TEST(CheckCollectives, NamesTheRankThatDiverges) {
  struct Checking {
    Checking() { set_check_collectives(true); }
    ~Checking() { set_check_collectives(false); }
  };
  const int size = ranks().size(), last = size - 1;
  const auto part = ranks().split(0, ranks().rank(), "checked");
  part->prepare(Communicator::Traffic::collectives);
  const Tensor x = zeros({size * 4}, DType::f32), shard = zeros({4}, DType::f32);
  const std::vector<std::pair<std::string, std::function<void()>>> diverging = {
      {"all_gather #1 (f32 x {})", [&] { part->all_gather(shard, x); }},
      {"all_reduce #2 (f32 x 4)", [&] { part->all_reduce(shard); }},
      {"all_reduce #3 (bf16 x {})", [&] { part->all_reduce(zeros(x.shape(), DType::bf16)); }},
      {"broadcast #4 from rank 0 (f32 x {})", [&] { part->broadcast(x, 0); }},
      {"barrier #5", [&] { part->barrier(); }},
      {"split #6", [&] { part->split(0, 0); }},
  };
  for (const auto& [called, call] : diverging) {
    const Checking checking;
    try {
      if (ranks().rank() == last) call();
      if (ranks().rank() != last) part->all_reduce(x);
      ADD_FAILURE() << "nobody noticed " << called;
    } catch (const Error& error) {
      // Of two ranks the lower is believed.
      EXPECT_THAT(error.message(),
                  ::testing::HasSubstr(fmt::format("the ranks of checked disagree on what to call: "
                                                   "rank {} called {}, but rank",
                                                   last, fmt::format(fmt::runtime(called), 4 * size))));
      EXPECT_THAT(error.message(), ::testing::HasSubstr("called all_reduce #"));
    }
  }
  const Checking checking;
  const std::int64_t sent = part->counts().of(CallKind::all_reduce).sent;
  const Tensor one = full({1}, DType::f32, 1);
  part->all_reduce(one);
  EXPECT_EQ(one.item(), size);
  EXPECT_EQ(part->counts().of(CallKind::all_reduce).sent - sent, 4 * (size - 1)) << "comparing is not counted";
}

TEST(Communicators, WaitsForTheStream) {
  const std::unique_ptr<Stream> stream = deferred_stream();
  const StreamScope scope(*stream);
  const Tensor x = full({5000}, DType::f32, 1);
  x.add(x);
  ranks().all_reduce(x);
  x.add(x);
  EXPECT_EQ(x.to_vector(), std::vector<float>(5000, 4.0F * static_cast<float>(ranks().size())));
}

}  // namespace
}  // namespace skymm::testing

int main(int argc, char** argv) { return skymm::testing::run_mpi_tests(argc, argv); }
