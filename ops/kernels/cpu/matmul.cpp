#include "ops/kernels/cpu/matmul.hpp"

#include <omp.h>

#include <array>
#include <bit>
#include <cstring>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <vector>

#include "core/error.hpp"
#include "core/round_up.hpp"
#include "ops/kernels/cpu/block_add.hpp"
#include "ops/kernels/cpu/launch.hpp"
#include "ops/kernels/cpu/matmul_wide.hpp"

namespace skymm {
namespace {

using Memory = dnnl::memory;

dnnl::engine& engine() {
  static auto* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);  // outlives every static that holds a primitive
  return *engine;
}

Memory::data_type type_of(DType type) { return type == DType::bf16 ? Memory::data_type::bf16 : Memory::data_type::f32; }

Memory::desc desc_of(const Matrix& x) {
  // oneDNN reads a stride also where there is but one row, column or matrix: give it one that fits.
  const std::int64_t row_step = x.rows > 1 ? x.row_step : x.col_step == 1 ? x.cols : 1;
  const std::int64_t col_step = x.cols > 1 ? x.col_step : x.row_step == 1 ? x.rows : 1;
  return {{x.rows, x.cols}, type_of(x.dtype), Memory::dims{row_step, col_step}};
}

struct Primitive {
  dnnl::matmul matmul;
  Memory::desc a, b, c, bias, scratchpad;
};

// All that a primitive depends on, as words.
using Key = std::array<std::int64_t, 10>;
struct KeyHash {
  std::size_t operator()(const Key& key) const {
    std::uint64_t hash = 1469598103934665603ULL;
    for (const std::int64_t word : key) {
      hash = (hash ^ static_cast<std::uint64_t>(word)) * 0x9E3779B97F4A7C15ULL;
      hash ^= hash >> 32;
    }
    return hash;
  }
};

Key key_of(const Matrix& a, const Matrix& b, bool packed, const Matrix& c, const Epilogue& e) {
  const std::int64_t flags = static_cast<std::int64_t>(a.dtype) | static_cast<std::int64_t>(c.dtype) << 8 |
                             static_cast<std::int64_t>(e.bias_dtype) << 16 |
                             static_cast<std::int64_t>(e.activation) << 24 | std::int64_t{e.bias != nullptr} << 32 |
                             std::int64_t{e.accumulate} << 33 | std::int64_t{packed} << 34;
  return {a.rows,     a.cols,     b.cols,     a.row_step, a.col_step,
          b.row_step, b.col_step, c.row_step, flags,      std::int64_t{std::bit_cast<std::int32_t>(e.alpha)}};
}

void append_activation(dnnl::post_ops& ops, Activation activation) {
  using dnnl::algorithm;
  switch (activation) {
    case Activation::none:
      return;
    case Activation::relu:
      return ops.append_eltwise(1.0F, algorithm::eltwise_relu, 0.0F, 0.0F);
    case Activation::silu:
      return ops.append_eltwise(1.0F, algorithm::eltwise_swish, 1.0F, 0.0F);
    case Activation::gelu:
      return ops.append_eltwise(1.0F, algorithm::eltwise_gelu_erf, 0.0F, 0.0F);
    case Activation::gelu_tanh:
      return ops.append_eltwise(1.0F, algorithm::eltwise_gelu_tanh, 0.0F, 0.0F);
    case Activation::quick_gelu:
      return ops.append_eltwise(1.0F, algorithm::eltwise_swish, 1.702F, 0.0F);
  }
}

std::shared_ptr<const Primitive> make_primitive(const Matrix& a, const Memory::desc& b, const Matrix& c,
                                                const Epilogue& e) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (e.alpha != 1.0F) attributes.set_output_scales(0, {e.alpha});
  dnnl::post_ops ops;
  if (e.accumulate) ops.append_sum(1.0F);
  append_activation(ops, e.activation);
  if (ops.len() > 0) attributes.set_post_ops(ops);

  auto made = std::make_shared<Primitive>();
  made->a = desc_of(a);
  made->c = desc_of(c);
  if (e.bias != nullptr) {
    made->bias = {{1, c.cols}, type_of(e.bias_dtype), Memory::format_tag::ab};
  }
  const dnnl::matmul::desc what =
      e.bias != nullptr ? dnnl::matmul::desc(made->a, b, made->bias, made->c) : dnnl::matmul::desc(made->a, b, made->c);
  const dnnl::matmul::primitive_desc description(what, attributes, engine());
  made->b = description.weights_desc();
  made->scratchpad = description.scratchpad_desc();
  made->matmul = dnnl::matmul(description);
  return made;
}

// The primitives made so far. Token counts differ from call to call, so the number is bounded.
std::shared_ptr<const Primitive> primitive_for(const Matrix& a, const Matrix& b, const Memory::desc* packed,
                                               const Matrix& c, const Epilogue& e) {
  constexpr std::size_t most = 2048;
  static auto* const mutex = new std::mutex;
  static auto* const made = new std::unordered_map<Key, std::shared_ptr<const Primitive>, KeyHash>;
  const Key key = key_of(a, b, packed != nullptr, c, e);
  {
    const std::lock_guard lock(*mutex);
    const auto found = made->find(key);
    if (found != made->end()) return found->second;
  }
  auto primitive = make_primitive(a, packed != nullptr ? *packed : desc_of(b), c, e);
  const std::lock_guard lock(*mutex);
  if (made->size() >= most) made->clear();
  return made->emplace(key, std::move(primitive)).first->second;
}

// Scratch memory of this thread, kept from call to call: one piece for each use.
enum class Use { onednn, left, target };

void* scratch(Use use, std::int64_t bytes) {
  thread_local std::array<Tensor, 3> pieces;
  Tensor& kept = pieces[static_cast<int>(use)];
  if (bytes == 0) return nullptr;
  if (!kept.defined() || kept.numel() < bytes) {
    const PurposeScope purpose(Purpose::workspace);
    kept = Tensor();
    kept = Tensor::empty({bytes}, DType::u8);
  }
  return kept.raw();
}

// oneDNN splits its work over as many threads as OpenMP would give this one: one, while this lives.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

// One block of c, by this thread; `packed` is the layout of b where it is packed.
void multiply_block(const Matrix& a, const Matrix& b, const Memory::desc* packed, const Matrix& c, const Epilogue& e) {
  const OneThread one;
  const std::shared_ptr<const Primitive> p = primitive_for(a, b, packed, c, e);
  thread_local dnnl::stream stream(engine());
  std::unordered_map<int, Memory> arguments{{DNNL_ARG_SRC, Memory(p->a, engine(), a.data)},
                                            {DNNL_ARG_WEIGHTS, Memory(p->b, engine(), b.data)},
                                            {DNNL_ARG_DST, Memory(p->c, engine(), c.data)}};
  if (e.bias != nullptr) arguments.emplace(DNNL_ARG_BIAS, Memory(p->bias, engine(), const_cast<void*>(e.bias)));
  if (const auto bytes = static_cast<std::int64_t>(p->scratchpad.get_size()); bytes > 0) {
    arguments.emplace(DNNL_ARG_SCRATCHPAD, Memory(p->scratchpad, engine(), scratch(Use::onednn, bytes)));
  }
  p->matmul.execute(stream, arguments);
}

bool is_dense(const Matrix& x) { return x.col_step == 1 && (x.row_step == x.cols || x.rows == 1); }

Matrix dense_scratch(Use use, std::int64_t rows, std::int64_t cols, DType dtype) {
  return {scratch(use, rows * cols * static_cast<std::int64_t>(size_of(dtype))), dtype, rows, cols, cols, 1};
}

void copy_rows(const Matrix& from, const Matrix& to) {
  const std::size_t bytes = static_cast<std::size_t>(from.cols) * size_of(from.dtype);
  for (std::int64_t r = 0; r < from.rows; ++r) std::memcpy(to.at(r * to.row_step), from.at(r * from.row_step), bytes);
}

// multiply_block through dense copies of a and c where they are strided: oneDNN's fast kernels take no others, and
// the copies stay in cache.
void multiply_dense(const Matrix& a, const Matrix& b, const Memory::desc* packed, const Matrix& c, const Epilogue& e) {
  Matrix left = a;
  if (!is_dense(a)) {
    left = dense_scratch(Use::left, a.rows, a.cols, a.dtype);
    copy_rows(a, left);
  }
  if (is_dense(c)) return multiply_block(left, b, packed, c, e);
  const Matrix target = dense_scratch(Use::target, c.rows, c.cols, e.accumulate ? DType::f32 : c.dtype);
  Epilogue product = e;
  product.accumulate = false;
  multiply_block(left, b, packed, target, product);
  e.accumulate ? add_block(target, c) : copy_rows(target, c);
}

void multiply_plain(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& e) {
  const bool is_whole_rows = b.row_step == 1 && b.col_step == b.rows;  // a weight [n, k], seen as [k, n]
  is_whole_rows&& a.col_step == 1 ? multiply_dense(a, b, nullptr, c, e) : multiply_block(a, b, nullptr, c, e);
}

constexpr std::int64_t panel_cols = 256;  // at most, of b and c in one block
constexpr std::int64_t column_unit = 64;  // panels are a multiple of it: the widest block of oneDNN's layouts
constexpr std::int64_t row_unit = 32;

// [0, n) in pieces of nearly one size: multiples of `unit`, and at most `most` (itself one).
std::int64_t piece_of(std::int64_t n, std::int64_t most, std::int64_t unit) {
  const std::int64_t pieces = std::max<std::int64_t>(1, (n + most - 1) / most);
  return std::max(unit, round_up((n + pieces - 1) / pieces, unit));
}

// Rows of c in one block: enough work to pay for a thread, little enough to keep many threads busy.
std::int64_t rows_of_block(std::int64_t rows, std::int64_t k, std::int64_t cols, std::int64_t least) {
  constexpr std::int64_t multiplications = 8 << 20;
  return piece_of(rows, std::max(least, round_up(multiplications / (k * cols), row_unit)), row_unit);
}

Epilogue epilogue_of(const Epilogue& e, std::int64_t column) {
  Epilogue part = e;
  if (e.bias != nullptr) {
    part.bias = static_cast<const char*>(e.bias) + column * static_cast<std::int64_t>(size_of(e.bias_dtype));
  }
  return part;
}

// block(member of the batch, first row, last row, first column, last column) for all blocks of c.
template <class F>
void each_block(const Matrix& c, std::int64_t k, std::int64_t rows, std::int64_t cols, F block) {
  const std::int64_t down = (c.rows + rows - 1) / rows, across = (c.cols + cols - 1) / cols;
  parallel_for(c.batch * across * down, c.batch * c.rows * c.cols * k / 64, [&](std::int64_t i) {
    const std::int64_t row = i % down * rows, col = i / down % across * cols;
    block(i / down / across, row, std::min(c.rows, row + rows), col, std::min(c.cols, col + cols));
  });
}

// Where nothing is multiplied c is what bias and activation make of zero.
bool is_trivial(const Matrix& a, const Matrix& c) { return c.batch == 0 || c.rows == 0 || c.cols == 0 || a.cols == 0; }

}  // namespace

bool multiplies(DType dtype) {
  static const bool avx512 = (static_cast<int>(dnnl::get_effective_cpu_isa()) & 0x27) == 0x27;
  return dtype == DType::f32 || avx512;
}

void matmul_panel(const Matrix& a, const Matrix& b, PanelLayout layout, const Matrix& c, const Epilogue& e) {
  if (layout == PanelLayout::plain) return multiply_plain(a, b, c, e);
  const Memory::desc pairs({b.rows, b.cols}, type_of(b.dtype), Memory::format_tag::BA16a64b2a);
  Matrix right = b;
  right.row_step = column_unit;  // tells its primitives from those of packed matrices, which have none
  multiply_dense(a, right, &pairs, c, e);
}

void matmul(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& e) {
  if (is_trivial(a, c)) return finish_empty(c, e);
  const std::int64_t cols = piece_of(c.cols, panel_cols, column_unit);
  const std::int64_t rows = rows_of_block(c.rows, a.cols, std::min(cols, c.cols), 256);
  each_block(c, a.cols, rows, cols,
             [&](std::int64_t member, std::int64_t row, std::int64_t end_row, std::int64_t col, std::int64_t end_col) {
               const Matrix left = a.member(member).rows_of(row, end_row);
               const Matrix right = b.member(member).cols_of(col, end_col);
               const Matrix target = c.member(member).rows_of(row, end_row).cols_of(col, end_col);
               multiplies(a.dtype) ? multiply_plain(left, right, target, epilogue_of(e, col))
                                   : multiply_widened(left, right, target, epilogue_of(e, col), multiply_plain);
             });
}

struct PackedMatrix::Panels {
  bool plain = false, pairs = false;
  std::int64_t cols = 0;     // of all panels but the last
  Memory::desc whole, last;  // layout of a panel, and of the last
  std::int64_t step = 0;     // bytes from panel to panel
  std::int64_t count = 0;
};

PackedMatrix::PackedMatrix(std::int64_t k, std::int64_t n, DType dtype)
    : k_(k), n_(n), dtype_(dtype), panels_(std::make_unique<Panels>()) {
  Panels& p = *panels_;
  const auto layout = [&](std::int64_t cols) {
    constexpr std::int64_t typical_rows = 128;
    const OneThread one;
    const Memory::desc a({typical_rows, k}, type_of(dtype), Memory::format_tag::ab);
    const Memory::desc any({k, cols}, type_of(dtype), Memory::format_tag::any);
    const Memory::desc c({typical_rows, cols}, type_of(dtype), Memory::format_tag::ab);
    return dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, any, c), engine()).weights_desc();
  };
  p.cols = piece_of(n, panel_cols, column_unit);
  p.count = (n + p.cols - 1) / p.cols;
  p.plain = k == 0 || n == 0 || !multiplies(dtype);
  if (!p.plain) {
    p.last = layout(n - (p.count - 1) * p.cols);
    p.whole = p.count > 1 ? layout(p.cols) : p.last;
    const auto is_dense = [&](const Memory::desc& x) {
      return x.data.format_kind == dnnl_blocked && x.data.format_desc.blocking.inner_nblks == 0;
    };
    p.plain = is_dense(p.whole) && is_dense(p.last);
    p.step = round_up(static_cast<std::int64_t>(p.whole.get_size()), 64);
    const auto is_pairs = [&](const Memory::desc& x, std::int64_t cols) {
      return x == Memory::desc({k, cols}, type_of(dtype), Memory::format_tag::BA16a64b2a);
    };
    p.pairs = dtype == DType::bf16 && is_pairs(p.whole, p.count > 1 ? p.cols : n) &&
              is_pairs(p.last, n - (p.count - 1) * p.cols) &&
              (p.count == 1 || p.step == p.cols * filled_rows() * static_cast<std::int64_t>(size_of(dtype)));
  }
  const std::int64_t bytes = p.plain ? k * n * static_cast<std::int64_t>(size_of(dtype))
                                     : p.step * (p.count - 1) + static_cast<std::int64_t>(p.last.get_size());
  storage_ = Tensor::empty({bytes}, DType::u8);
}

PackedMatrix::~PackedMatrix() = default;

bool PackedMatrix::is_plain() const { return panels_->plain; }
bool PackedMatrix::has_pairs() const { return panels_->pairs; }

Matrix PackedMatrix::as_plain() const { return {storage_.raw(), dtype_, k_, n_, 1, std::max<std::int64_t>(k_, 1)}; }

void PackedMatrix::reorder(const Matrix& b, bool pack) const {
  if (k_ == 0 || n_ == 0) return;
  const Panels& p = *panels_;
  const auto move = [](Memory from, Memory to) {
    dnnl::stream stream(engine());
    dnnl::reorder(from, to).execute(stream, from, to);
  };
  const std::int64_t cols = p.plain ? n_ : p.cols;
  for (std::int64_t i = 0; i * cols < n_; ++i) {
    const Matrix part = b.cols_of(i * cols, std::min(n_, (i + 1) * cols));
    const Memory plain(desc_of(part), engine(), part.data);
    const Memory packed(p.plain           ? desc_of(as_plain())
                        : i + 1 < p.count ? p.whole
                                          : p.last,
                        engine(), static_cast<char*>(storage_.raw()) + i * p.step);
    pack ? move(plain, packed) : move(packed, plain);
  }
}

void matmul(const Matrix& a, const PackedMatrix& b, const Matrix& c, const Epilogue& e) {
  if (b.is_plain()) return matmul(a, b.as_plain(), c, e);
  if (is_trivial(a, c)) return finish_empty(c, e);
  const PackedMatrix::Panels& p = *b.panels_;
  const std::int64_t rows = rows_of_block(c.rows, a.cols, std::min(p.cols, c.cols), 64);
  each_block(c, a.cols, rows, p.cols,
             [&](std::int64_t, std::int64_t row, std::int64_t end_row, std::int64_t col, std::int64_t end_col) {
               const std::int64_t panel = col / p.cols;
               Matrix right{static_cast<char*>(b.storage_.raw()) + panel * p.step, a.dtype, a.cols, end_col - col};
               multiply_dense(a.rows_of(row, end_row), right, panel + 1 < p.count ? &p.whole : &p.last,
                              c.rows_of(row, end_row).cols_of(col, end_col), epilogue_of(e, col));
             });
}

}  // namespace skymm
