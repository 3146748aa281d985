#include "ops/kernels/cpu/matmul.hpp"

#include <omp.h>

#include <array>
#include <bit>
#include <cmath>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <vector>

#include "core/error.hpp"
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
  if (x.batch == 1) return {{x.rows, x.cols}, type_of(x.dtype), Memory::dims{row_step, col_step}};
  return {{x.batch, x.rows, x.cols}, type_of(x.dtype), Memory::dims{x.batch_step, row_step, col_step}};
}

struct Primitive {
  dnnl::matmul matmul;
  Memory::desc a, b, c, bias, scratchpad;
};

// All that a primitive depends on, as words.
using Key = std::array<std::int64_t, 16>;
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
  const auto steps = [](const Matrix& x) { return x.row_step << 1 | (x.col_step == 1 ? 1 : 0); };
  const std::int64_t flags = static_cast<std::int64_t>(a.dtype) | static_cast<std::int64_t>(c.dtype) << 8 |
                             static_cast<std::int64_t>(e.bias_dtype) << 16 |
                             static_cast<std::int64_t>(e.activation) << 24 | std::int64_t{e.bias != nullptr} << 32 |
                             std::int64_t{e.accumulate} << 33 | std::int64_t{packed} << 34;
  return {a.batch,
          a.rows,
          a.cols,
          b.cols,
          steps(a),
          a.col_step,
          a.batch_step,
          packed ? 0 : steps(b),
          b.col_step,
          b.batch_step,
          steps(c),
          c.batch_step,
          std::int64_t{std::bit_cast<std::int32_t>(e.alpha)},
          flags,
          omp_get_max_threads(),
          0};
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
    Memory::dims dims{1, c.cols};
    if (c.batch > 1) dims.insert(dims.begin(), 1);
    made->bias = {dims, type_of(e.bias_dtype), c.batch > 1 ? Memory::format_tag::abc : Memory::format_tag::ab};
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

// Scratch memory of this thread, kept from call to call.
void* scratch(std::size_t bytes) {
  thread_local Tensor kept;
  if (bytes == 0) return nullptr;
  if (!kept.defined() || kept.bytes() < bytes) {
    const PurposeScope purpose(Purpose::workspace);
    kept = Tensor();
    kept = Tensor::empty({static_cast<std::int64_t>(bytes)}, DType::u8);
  }
  return kept.raw();
}

void run(const Primitive& p, const Matrix& a, void* b, const Matrix& c, const Epilogue& e) {
  thread_local dnnl::stream stream(engine());
  std::unordered_map<int, Memory> arguments{{DNNL_ARG_SRC, Memory(p.a, engine(), a.data)},
                                            {DNNL_ARG_WEIGHTS, Memory(p.b, engine(), b)},
                                            {DNNL_ARG_DST, Memory(p.c, engine(), c.data)}};
  if (e.bias != nullptr) arguments.emplace(DNNL_ARG_BIAS, Memory(p.bias, engine(), const_cast<void*>(e.bias)));
  if (const std::size_t bytes = p.scratchpad.get_size(); bytes > 0) {
    arguments.emplace(DNNL_ARG_SCRATCHPAD, Memory(p.scratchpad, engine(), scratch(bytes)));
  }
  p.matmul.execute(stream, arguments);
}

// oneDNN refuses bf16 below AVX-512.
bool multiplies(DType dtype) {
  static const bool avx512 = (static_cast<int>(dnnl::get_effective_cpu_isa()) & 0x27) == 0x27;
  return dtype == DType::f32 || avx512;
}

// Where nothing is multiplied: true, and c is what bias and activation make of zero.
bool is_trivial(const Matrix& a, const Matrix& c) { return c.batch == 0 || c.rows == 0 || c.cols == 0 || a.cols == 0; }

}  // namespace

void matmul(const Matrix& a, const Matrix& b, const Matrix& c, const Epilogue& e) {
  if (is_trivial(a, c)) return finish_empty(c, e);
  if (!multiplies(a.dtype)) return matmul_widened(a, b, c, e);
  run(*primitive_for(a, b, nullptr, c, e), a, b.data, c, e);
}

struct PackedMatrix::Layout {
  Memory::desc desc;
  bool plain = false;
};

PackedMatrix::PackedMatrix(std::int64_t k, std::int64_t n, DType dtype)
    : k_(k), n_(n), dtype_(dtype), layout_(std::make_unique<Layout>()) {
  constexpr std::int64_t typical_rows = 256;
  const auto plain = Memory::desc({k, n}, type_of(dtype), Memory::dims{1, std::max<std::int64_t>(k, 1)});
  layout_->desc = plain;
  if (k > 0 && n > 0 && multiplies(dtype)) {
    const Memory::desc any({k, n}, type_of(dtype), Memory::format_tag::any);
    const auto a = Memory::desc({typical_rows, k}, type_of(dtype), Memory::format_tag::ab);
    const auto c = Memory::desc({typical_rows, n}, type_of(dtype), Memory::format_tag::ab);
    const dnnl::matmul::primitive_desc best(dnnl::matmul::desc(a, any, c), engine());
    layout_->desc = best.weights_desc();
  }
  const Memory::desc row_major({k, n}, type_of(dtype), Memory::dims{std::max<std::int64_t>(n, 1), 1});
  if (layout_->desc == row_major) layout_->desc = plain;
  layout_->plain = layout_->desc == plain;
  storage_ = Tensor::empty({static_cast<std::int64_t>(layout_->desc.get_size())}, DType::u8);
}

PackedMatrix::~PackedMatrix() = default;

bool PackedMatrix::is_plain() const { return layout_->plain; }

Matrix PackedMatrix::as() const { return {storage_.raw(), dtype_, k_, n_, 1, std::max<std::int64_t>(k_, 1)}; }

void PackedMatrix::pack(const Matrix& b) const {
  if (k_ == 0 || n_ == 0) return;
  Memory from(desc_of(b), engine(), b.data), to(layout_->desc, engine(), storage_.raw());
  dnnl::stream stream(engine());
  dnnl::reorder(from, to).execute(stream, from, to);
}

void PackedMatrix::unpack(const Matrix& b) const {
  if (k_ == 0 || n_ == 0) return;
  Memory from(layout_->desc, engine(), storage_.raw()), to(desc_of(b), engine(), b.data);
  dnnl::stream stream(engine());
  dnnl::reorder(from, to).execute(stream, from, to);
}

void matmul(const Matrix& a, const PackedMatrix& b, const Matrix& c, const Epilogue& e) {
  if (b.is_plain()) return matmul(a, b.as(), c, e);
  if (is_trivial(a, c)) return finish_empty(c, e);
  run(*primitive_for(a, b.as(), &b.layout_->desc, c, e), a, b.storage_.raw(), c, e);
}

namespace {

bool is_adjacent(std::int64_t step, std::int64_t size) { return step == 1 || size <= 1; }

}  // namespace

Matrix matrix_of(const Tensor& x, const char* primitive, const char* name, bool batched) {
  check(x.defined(), "{}: {} is undefined", primitive, name);
  const bool rank3 = batched && x.rank() == 3;
  check(x.rank() == 2 || rank3, "{}: {} has shape {}; it must be a matrix{}", primitive, name, x.shape().str(),
        batched ? " or a batch of matrices" : "");
  check(x.dtype() == DType::f32 || x.dtype() == DType::bf16, "{}: {} is {}; it must be f32 or bf16", primitive, name,
        name_of(x.dtype()));
  Matrix m{nullptr, x.dtype(), x.dim(-2), x.dim(-1), x.stride(-2), x.stride(-1)};
  if (rank3) {
    m.batch = x.dim(0);
    m.batch_step = x.stride(0);
  }
  if (m.rows <= 1 && is_adjacent(m.col_step, m.cols)) m.row_step = std::max<std::int64_t>(m.cols, 1);
  if (m.cols <= 1) m.col_step = 1;
  const bool rows_adjacent = m.col_step == 1 && (m.rows <= 1 || m.row_step >= m.cols);
  const bool cols_adjacent = m.row_step == 1 && (m.cols <= 1 || m.col_step >= m.rows);
  check(rows_adjacent || cols_adjacent, "{}: the elements of {} {} are adjacent neither in its rows nor its columns",
        primitive, name, x.shape().str());
  m.data = x.numel() == 0 ? nullptr : x.raw();
  return m;
}

Matrix row_matrix_of(const Tensor& x, const char* primitive, const char* name, bool batched) {
  const Matrix m = matrix_of(x, primitive, name, batched);
  check(m.col_step == 1, "{}: the elements of a row of {} are not adjacent", primitive, name);
  return m;
}

}  // namespace skymm
