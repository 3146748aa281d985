#include "ops/reference/reference_rows.hpp"
#include "ops/reference/settings.hpp"

namespace skymm::testing {
namespace {

constexpr float theta = 10000.0F;

std::vector<std::int32_t> some_positions(std::int64_t tokens) {
  std::vector<std::int32_t> positions(static_cast<std::size_t>(tokens));
  for (std::size_t t = 0; t < positions.size(); ++t) positions[t] = static_cast<std::int32_t>(t * 37 % 4096);
  if (!positions.empty()) positions.back() = 1'000'000;
  return positions;
}

TEST(RotaryReference, InverseIsTheGradient) {
  const std::vector<std::int32_t> positions = {0, 5};
  const Values x = values_of(random_tensor({2 * 3 * 4}, DType::f32, 1)),
               dy = values_of(random_tensor({24}, DType::f32, 2));
  const auto forward = [&](const Values& v) { return reference_rotary(v, positions, theta, false, 3, 4); };
  EXPECT_LE(
      relative_error(reference_rotary(dy, positions, theta, true, 3, 4), finite_difference_gradient(forward, x, dy)),
      1e-8);
}

TEST(Rotary, TurnsPairsByPosition) {
  for_every_setting([](Setting& s) {
    for (const std::int64_t heads : {1, 3}) {
      const std::int64_t d = 2 * s.width;
      const std::vector<std::int32_t> at = some_positions(s.rows);
      const Tensor positions = s.ints(at);
      const Tensor x = s.input(s.rows, heads * d, s.dtype, 1).split_last(heads, d);
      for (const bool inverse : {false, true}) {
        const Tensor y = s.output(s.rows, heads * d, s.dtype).split_last(heads, d);
        kernels(x).rotary_embedding(x, positions, theta, inverse, y);
        EXPECT_CLOSE(y, reference_rotary(values_of(x), at, theta, inverse, heads, d), tolerance(s.dtype));
      }
    }
  });
}

TEST(Rotary, InPlaceAndBack) {
  on_every_stream([] {
    const Tensor x = random_tensor({9, 2, 64}, DType::f32, 1), y = x.clone();
    const Tensor positions = Tensor::from(some_positions(9), {9}, tested_device());
    kernels(x).rotary_embedding(y, positions, theta, false, y);
    EXPECT_GT(relative_error(values_of(y), values_of(x)), 0.1);
    kernels(x).rotary_embedding(y, positions, theta, true, y);
    EXPECT_CLOSE(y, values_of(x), 1e-6);
  });
}

TEST(RotaryErrors, NameThePrimitiveAndTheTensor) {
  const Tensor odd = Tensor::zeros({4, 2, 7}, DType::f32, tested_device()),
               flat = Tensor::zeros({4, 8}, DType::f32, tested_device());
  const Tensor positions = Tensor::zeros({4}, DType::i32, tested_device());
  EXPECT_THAT(
      [&] { kernels(odd).rotary_embedding(odd, positions, theta, false, odd); },
      ::testing::ThrowsMessage<Error>(::testing::HasSubstr("rotary_embedding: x must have heads of an even width")));
  EXPECT_THAT([&] { kernels(odd).rotary_embedding(flat, positions, theta, false, flat); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("rotary_embedding: x [4, 8] must be")));
}

}  // namespace
}  // namespace skymm::testing
