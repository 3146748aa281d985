#include "parallel/gather_text.hpp"

#include <algorithm>

namespace skymm {

std::vector<std::string> gather_text(Communicator& ranks, const std::string& mine) {
  const auto size = static_cast<std::int64_t>(ranks.size());
  const Tensor lengths = Tensor::empty({size}, DType::i64);
  ranks.all_gather(Tensor::full({1}, DType::i64, static_cast<double>(mine.size())), lengths);
  const std::vector<std::int64_t> bytes = lengths.to_vector<std::int64_t>();
  // Padded to the longest, since all_gather takes parts of one size.
  const std::int64_t longest = std::max<std::int64_t>(1, *std::ranges::max_element(bytes));
  std::vector<std::uint8_t> padded(mine.begin(), mine.end());
  padded.resize(static_cast<std::size_t>(longest), 0);
  const Tensor all = Tensor::empty({size * longest}, DType::u8);
  ranks.all_gather(Tensor::from(padded, {longest}), all);
  const std::vector<std::uint8_t> values = all.to_vector<std::uint8_t>();
  std::vector<std::string> texts;
  for (std::int64_t r = 0; r < size; ++r) {
    const auto begin = values.begin() + r * longest;
    texts.emplace_back(begin, begin + bytes[static_cast<std::size_t>(r)]);
  }
  return texts;
}

std::string broadcast_text(Communicator& ranks, const std::string& text, int root) {
  const Tensor length = Tensor::full({1}, DType::i64, static_cast<double>(text.size()));
  ranks.broadcast(length, root);
  const std::int64_t bytes = length.to_vector<std::int64_t>()[0];
  if (bytes == 0) return {};
  const bool mine = ranks.rank() == root;
  const Tensor all = mine ? Tensor::from(std::vector<std::uint8_t>(text.begin(), text.end()), {bytes})
                          : Tensor::empty({bytes}, DType::u8);
  ranks.broadcast(all, root);
  const std::vector<std::uint8_t> values = all.to_vector<std::uint8_t>();
  return {values.begin(), values.end()};
}

}  // namespace skymm
