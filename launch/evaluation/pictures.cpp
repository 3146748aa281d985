#include "launch/evaluation/pictures.hpp"

#include "core/error.hpp"
#include "launch/assembly/batches.hpp"

namespace skymm {

std::int64_t Pictures::add(const Sample& sample, std::size_t image) {
  const auto [entry, is_new] = numbers_.try_emplace(sample.images[image], size());
  if (is_new) {
    try {
      const std::vector<float> one = load_pixels(sample.images[image], spec_);
      pixels_.insert(pixels_.end(), one.begin(), one.end());
    } catch (const Error& error) {
      fail("{}: {}", sample.id, error.message());
    }
  }
  return entry->second;
}

Tensor Pictures::features(Multimodal& model, const std::vector<std::int64_t>& numbers) const {
  if (size() == 0) return {};
  const Tensor all = model.features(to_pixels(pixels_, spec_.size, model.dtype()).to(model.device()));
  const std::int64_t patches = all.dim(0) / size();
  std::vector<std::int32_t> rows;
  for (const std::int64_t number : numbers) {
    for (std::int64_t i = 0; i < patches; ++i) rows.push_back(static_cast<std::int32_t>(number * patches + i));
  }
  const auto count = static_cast<std::int64_t>(rows.size());
  const Tensor chosen = Tensor::empty({count, all.dim(1)}, all.dtype(), all.device());
  kernels(all).gather_rows(all, Tensor::from(rows, {count}, all.device()), chosen);
  return chosen;
}

}  // namespace skymm
