#include "support/support.hpp"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <string_view>

#include "core/error.hpp"
#include "core/random.hpp"
#include "ops/kernels/kernels.hpp"
#include "parallel/job.hpp"

namespace skymm::testing {

Device& tested_device() {
  static Device& device = []() -> Device& {
    const char* name = std::getenv("SKYMM_TEST_DEVICE");
    try {
      Device& opened = open_device(name != nullptr ? name : "cpu", read_job().local_rank);
      if (std::getenv("SKYMM_TEST_CUDNN") != nullptr) use_cudnn({"attention", "patch_embedding"}, opened);
      return opened;
    } catch (const Error& error) {
      constexpr int skipped = 77;
      fmt::print("skipped: {}\n", error.message());
      std::fflush(stdout);
      std::_Exit(skipped);
    }
  }();
  return device;
}

std::unique_ptr<Stream> deferred_stream() {
  if (tested_device().kind() == DeviceKind::cpu) return std::make_unique<DeferredStream>(cpu());
  return tested_device().make_stream();
}

Tensor random_tensor(const Shape& shape, DType dtype, std::uint64_t seed, double scale) {
  RandomStream random(seed);
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  for (float& value : values) value = static_cast<float>(scale) * random.normal();
  return Tensor::from(values, shape, tested_device()).to(dtype);
}

Values values_of(const Tensor& x) { return x.to_vector<double>(); }

Tensor tensor_of(const Values& values, const Shape& shape, DType dtype) {
  return Tensor::from(values, shape, tested_device()).to(dtype);
}

double relative_error(const Values& a, const Values& b) {
  EXPECT_EQ(a.size(), b.size());
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  const double error = norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
  return std::isfinite(error) ? error : std::numeric_limits<double>::infinity();
}

Values finite_difference_gradient(const std::function<Values(const Values&)>& f, Values x, const Values& weights,
                                  double step) {
  Values gradient(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double center = x[i];
    x[i] = center + step;
    const Values above = f(x);
    x[i] = center - step;
    const Values below = f(x);
    x[i] = center;
    for (std::size_t j = 0; j < above.size(); ++j) gradient[i] += weights[j] * (above[j] - below[j]) / (2 * step);
  }
  return gradient;
}

bool only_small_shapes() {
  const char* asked = std::getenv("SKYMM_TEST_SHAPES");
  return asked != nullptr && std::string_view(asked) == "small";
}

void on_every_stream(const std::function<void()>& body) {
  {
    SCOPED_TRACE("immediate stream");
    body();
  }
  if (only_small_shapes()) return;
  SCOPED_TRACE("deferred stream");
  const auto stream = deferred_stream();
  const StreamScope scope(*stream);
  body();
}

}  // namespace skymm::testing
