#include "parallel/pipeline/batches.hpp"

#include <array>
#include <cstdint>

#include "core/error.hpp"

namespace skymm {
namespace {

// All of a batch but its pixels or features, which the first stage alone takes: one list after the other, each behind
// its length.
constexpr std::array lists{&Batch::tokens,    &Batch::positions,   &Batch::sequence_offsets, &Batch::label_rows,
                           &Batch::label_ids, &Batch::visual_rows, &Batch::row_ids};
constexpr std::int64_t heads = 6;  // numbers in front of the lists

void pack(const Batch& batch, std::vector<std::int32_t>& out) {
  const std::uint64_t seed = batch.random.seed;
  for (const std::uint64_t number :
       {seed & 0xffffffffU, seed >> 32, std::uint64_t{batch.random.step}, std::uint64_t{batch.random.operation},
        static_cast<std::uint64_t>(batch.max_length), std::uint64_t{batch.training}}) {
    out.push_back(static_cast<std::int32_t>(static_cast<std::uint32_t>(number)));
  }
  for (const auto list : lists) {
    const Tensor& tensor = batch.*list;
    out.push_back(tensor.defined() ? static_cast<std::int32_t>(tensor.numel()) : 0);
    if (!tensor.defined()) continue;
    const std::vector<std::int32_t> values = tensor.to_vector<std::int32_t>();
    out.insert(out.end(), values.begin(), values.end());
  }
}

// Moves `in` behind what it read.
Batch unpack(std::span<const std::int32_t>& in) {
  const auto head = [&](std::size_t i) { return static_cast<std::uint32_t>(in[i]); };
  Batch batch;
  batch.random = {head(0) | std::uint64_t{head(1)} << 32, head(2), head(3)};
  batch.max_length = head(4);
  batch.training = head(5) != 0;
  in = in.subspan(heads);
  for (const auto list : lists) {
    const std::int64_t count = in[0];
    const auto values = in.subspan(1, static_cast<std::size_t>(count));
    batch.*list = Tensor::from(values, list == &Batch::row_ids ? Shape{count / 2, 2} : Shape{count});
    in = in.subspan(1 + static_cast<std::size_t>(count));
  }
  return batch;
}

}  // namespace

std::vector<Batch> share_batches(Communicator& pipeline, std::vector<Batch> batches) {
  if (pipeline.size() == 1) return batches;
  std::vector<std::int32_t> packed;
  if (pipeline.rank() == 0) {
    for (const Batch& batch : batches) pack(batch, packed);
  }
  const std::vector<std::int64_t> sizes{static_cast<std::int64_t>(batches.size()),
                                        static_cast<std::int64_t>(packed.size())};
  const Tensor counts = Tensor::from(sizes, {2});
  pipeline.broadcast(counts, 0);
  const std::vector<std::int64_t> known = counts.to_vector<std::int64_t>();
  packed.resize(static_cast<std::size_t>(known[1]));
  const Tensor all = Tensor::from(packed, {known[1]});
  pipeline.broadcast(all, 0);
  if (pipeline.rank() == 0) return batches;

  const std::vector<std::int32_t> received = all.to_vector<std::int32_t>();
  std::span<const std::int32_t> rest(received);
  batches.clear();
  for (std::int64_t i = 0; i < known[0]; ++i) batches.push_back(unpack(rest));
  check(rest.empty(), "the micro-batches of the first stage did not arrive whole");
  return batches;
}

}  // namespace skymm
