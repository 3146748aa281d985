#include "ops/kernels/cpu/panel_product.hpp"

#include <array>

namespace skymm {
namespace {

// Memory of this thread, kept from call to call: one piece for each use.
enum class Use { panel, product };

void* scratch(Use use, std::int64_t bytes) {
  thread_local std::array<Tensor, 2> pieces;
  Tensor& kept = pieces[static_cast<int>(use)];
  if (!kept.defined() || kept.numel() < bytes) {
    const PurposeScope purpose(Purpose::workspace);
    kept = Tensor();
    kept = Tensor::empty({bytes}, DType::u8);
  }
  return kept.raw();
}

// Four elements in a word, two rows of two columns, with rows and columns exchanged.
inline std::uint64_t exchanged(std::uint64_t x) {
  return (x & 0xffff00000000ffffULL) | (x >> 16 & 0xffff0000ULL) | (x << 16 & 0xffff00000000ULL);
}

// A block of 32 rows and 64 columns in pairs, [16][64][2], becomes the pairs of its columns, [32][64][2] of which these
// rows are the columns of one half: 16 words of each 32. pairs: how many are wanted.
void exchange_block(const std::uint64_t* from, std::int64_t pairs, std::uint64_t* to) {
  constexpr std::int64_t half = 16, width = 32;  // words
  for (std::int64_t pair = 0; pair < pairs; ++pair) {
    for (std::int64_t i = 0; i < half; ++i) to[pair * width + i] = exchanged(from[i * width + pair]);
  }
}

}  // namespace

void* panel_memory(std::int64_t bytes) { return scratch(Use::panel, bytes); }

Epilogue columns_of(const Epilogue& e, std::int64_t column) {
  Epilogue part = e;
  if (e.bias != nullptr) {
    part.bias = static_cast<const char*>(e.bias) + column * static_cast<std::int64_t>(size_of(e.bias_dtype));
  }
  return part;
}

Panel transposed_panel(const PackedMatrix& w, std::int64_t begin, std::int64_t end) {
  const std::int64_t k = w.columns(), n = end - begin, filled = round_up(k, 32);
  const std::int64_t panel_words = filled * panel_columns / 4, panels = round_up(n, panel_columns) / panel_columns;
  auto* const memory = static_cast<std::uint64_t*>(panel_memory(panels * panel_words * 8));
  // The last half panel has no rows of w behind it.
  if (n > 0 && round_up(end, 32) % panel_columns != 0) {
    std::fill_n(memory + (panels - 1) * panel_words, panel_words, 0);
  }
  for (std::int64_t block = 0; block < k; block += panel_columns) {
    const std::int64_t pairs = std::min(panel_columns, filled - block) / 2;
    const auto* const from = reinterpret_cast<const std::uint64_t*>(w.pairs_of(block));
    for (std::int64_t row = begin; row < end; row += 32) {
      std::uint64_t* const to =
          memory + (row - begin) / panel_columns * panel_words + block / 2 * 32 + (row - begin) % panel_columns / 2;
      exchange_block(from + row * panel_columns / 4, pairs, to);
    }
  }
  return {{memory, DType::bf16, k, n}, PanelLayout::pairs};
}

void multiply_by_panel(const Matrix& a, const Panel& b, const Matrix& c, const Epilogue& e) {
  if (a.dtype == DType::bf16 || c.dtype == DType::f32 || a.cols == 0) {
    return matmul_panel(a, b.matrix, b.layout, c, e);
  }
  auto* const product = static_cast<float*>(scratch(Use::product, c.rows * c.cols * std::int64_t{sizeof(float)}));
  matmul_panel(a, b.matrix, b.layout, {product, DType::f32, c.rows, c.cols, c.cols, 1}, {});
  finish_product(product, c, e);
}

}  // namespace skymm
