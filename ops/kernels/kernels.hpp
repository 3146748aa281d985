// Every primitive that models are made of, once, over tensors. Backends (cpu/ and cuda/) implement it; kernels(x)
// picks the one of x's device.
//
// Conventions
// - Token-major: activations are [tokens, width], all sequences of a micro-batch one after the other. T = tokens,
//   D = width. Rows may be strided (a column slice of a wider tensor); within a row elements are adjacent.
// - Floating tensors are f32 or bf16, one dtype in a call unless a comment says otherwise; sums are in f32 or wider.
//   Statistics (mean, inv_std, logsumexp) are f32.
// - Outputs are allocated by the caller and overwritten. "+=" marks the ones that are added to: all gradients of
//   parameters (f32) are, and `accumulate` arguments choose for input gradients.
// - Each call is enqueued on the device's current stream. Shapes and dtypes are checked at once, on the caller's
//   thread: an Error names the primitive and the tensor.
// - Results are the same for any number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/quantized_tensor.hpp"
#include "core/random.hpp"
#include "core/tensor.hpp"

namespace skymm {

enum class Activation : std::uint8_t {
  none,
  relu,
  silu,
  gelu,
  gelu_tanh,
  quick_gelu
};  // gelu by erf; quick: x sigmoid(1.702 x)

// The weight [out, in] of a linear layer in whatever form the backend computes with fastest. Opaque to layers and
// models.
class LinearWeight {
 public:
  virtual ~LinearWeight() = default;
  std::int64_t out = 0, in = 0;
  DType compute_dtype = DType::f32;  // of the activations it multiplies
  virtual std::size_t bytes() const = 0;
  virtual Tensor plain() const = 0;                 // [out, in], dequantised or unpacked, in compute_dtype
  virtual std::vector<Tensor> tensors() const = 0;  // in whose memory it is, in whatever layout
};
using LinearWeightPtr = std::shared_ptr<const LinearWeight>;

// What a packed weight is for: both keeps two packed copies and makes gradients through a frozen layer faster.
enum class Packing : std::uint8_t { none, forward, both };

// Attention over a batch of sequences of different lengths, stored one after the other. Sequence s has the queries
// [query_offsets[s], query_offsets[s+1]) and the keys [key_offsets[s], key_offsets[s+1]), and sees no other's.
struct AttentionShape {
  Tensor query_offsets, key_offsets;  // i32 [sequences + 1], ascending, from 0
  std::int64_t max_queries = 0;       // length of the longest sequence
  std::int64_t max_keys = 0;
  bool causal = false;  // query i of n sees keys up to i + (keys - n): aligned at the end
  float scale = 1.0F;   // of the scores; 1 / sqrt(head width) as a rule
  // i32 [sequences], or undefined: sequence s has only so many keys as yet, and the rest of its range is room for more.
  // Such attention has no gradient.
  Tensor key_lengths = {};
};

struct AdamW {
  float learning_rate = 1e-3F, beta1 = 0.9F, beta2 = 0.999F, epsilon = 1e-8F, weight_decay = 0.0F;
  std::int64_t step = 1;        // from 1; for the bias correction
  float gradient_scale = 1.0F;  // multiplies the gradient: 1 / tokens, times the clipping factor
};

// What one tensor's update by AdamW reads and writes. All flat [n]; master, m, v, gradient f32; value (f32 or bf16, may
// be undefined) = master rounded.
struct AdamWTensors {
  Tensor master, m, v, gradient, value;
  bool decays = true;  // false: AdamW::weight_decay is not for it
};

class Kernels {
 public:
  virtual ~Kernels() = default;

  // ---- matrix products -------------------------------------------------------------------------------------------
  // c = alpha op(a) op(b) (+ c where accumulate). a, b, c [m, k] or batched [batch, m, k]; op transposes the last two.
  // a and b of one dtype; c f32 or theirs.
  struct Gemm {
    bool transpose_a = false, transpose_b = false, accumulate = false;
    float alpha = 1.0F;
  };
  virtual void gemm(const Tensor& a, const Tensor& b, Tensor c, const Gemm& options) = 0;
  void gemm(const Tensor& a, const Tensor& b, Tensor c) { gemm(a, b, c, Gemm{}); }

  // weight [out, in] f32 or bf16. With Packing::none the result views `weight` and sees later changes of it.
  virtual LinearWeightPtr make_linear_weight(const Tensor& weight, Packing packing) = 0;
  // y [T, out] = activation(x [T, in] W^T + bias [out]) (+ y where accumulate; then no activation). bias may be
  // undefined.
  virtual void linear(const Tensor& x, const LinearWeight& w, const Tensor& bias, Activation activation, Tensor y,
                      bool accumulate = false) = 0;
  // dx [T, in] = dy [T, out] W (+ dx where accumulate)
  virtual void linear_input_gradient(const Tensor& dy, const LinearWeight& w, Tensor dx, bool accumulate = false) = 0;
  // to = the nearest codes. weight f32 or bf16, of to's shape or as a matrix [out, in]. Throws Error, when the work
  // runs, where an element is not finite.
  virtual void quantize(const Tensor& weight, const QuantizedTensor& to) = 0;
  // weight, f32 or bf16, of x's shape or as a matrix [out, in], = what the codes say
  virtual void dequantize(const QuantizedTensor& x, Tensor weight) = 0;
  // The weight whose rows are those of `parts`, one part after the other, shared with them. Products dequantise it tile
  // by tile, to compute_dtype, or on the way where tokens are few: in no place is it whole.
  virtual LinearWeightPtr make_linear_weight(std::span<const QuantizedTensor> parts, DType compute_dtype) = 0;
  // dw [out, in] f32 += scale dy^T x
  virtual void linear_weight_gradient(const Tensor& dy, const Tensor& x, Tensor dw, float scale = 1.0F) = 0;

  // ---- normalisation ---------------------------------------------------------------------------------------------
  // y = (x - mean) / sqrt(var + eps) * weight + bias, row by row; mean, inv_std f32 [T]. weight, bias [D] or undefined.
  virtual void layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps, Tensor y, Tensor mean,
                          Tensor inv_std) = 0;
  // dx = the gradient through layer_norm (+ dx where accumulate)
  virtual void layer_norm_input_gradient(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                                         const Tensor& inv_std, Tensor dx, bool accumulate = false) = 0;
  // dweight, dbias f32 [D], each may be undefined: +=
  virtual void layer_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& inv_std,
                                          Tensor dweight, Tensor dbias) = 0;
  // y = x / sqrt(mean(x^2) + eps) * weight; inv_rms f32 [T]. Where `residual` is defined: first x += residual, in
  // place.
  virtual void rms_norm(Tensor x, const Tensor& residual, const Tensor& weight, float eps, Tensor y,
                        Tensor inv_rms) = 0;
  virtual void rms_norm_input_gradient(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& inv_rms,
                                       Tensor dx, bool accumulate = false) = 0;
  // dweight f32 [D] +=
  virtual void rms_norm_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& inv_rms, Tensor dweight) = 0;
  // y = x / max(|x|_2, eps), row by row; inv_norm f32 [T]
  virtual void l2_normalize(const Tensor& x, float eps, Tensor y, Tensor inv_norm) = 0;
  virtual void l2_normalize_gradient(const Tensor& dy, const Tensor& y, const Tensor& inv_norm, Tensor dx) = 0;

  // ---- element by element ----------------------------------------------------------------------------------------
  virtual void activation(Activation kind, const Tensor& x, Tensor y) = 0;
  virtual void activation_gradient(Activation kind, const Tensor& x, const Tensor& dy, Tensor dx) = 0;
  // y [T, F] = silu(gate) * up, where gate_up [T, 2 F] = [gate | up]
  virtual void swiglu(const Tensor& gate_up, Tensor y) = 0;
  virtual void swiglu_gradient(const Tensor& gate_up, const Tensor& dy, Tensor dgate_up) = 0;
  virtual void add(const Tensor& x, const Tensor& y, Tensor z) = 0;  // z = x + y; z may be x or y
  virtual void multiply(const Tensor& x, const Tensor& y, float scale,
                        Tensor z) = 0;  // z = scale x y; y may be undefined: 1
  // y[i] = x[i] + table[i mod n], rows; table [n, D]
  virtual void add_rows(const Tensor& x, const Tensor& table, Tensor y) = 0;
  // dtable [n, D] f32 += sum of the rows i, i + n, i + 2n, ... of dy; n = 1: the gradient of a bias
  virtual void sum_rows(const Tensor& dy, Tensor dtable) = 0;
  // Inverted dropout: y = x / (1 - p) where uniform >= p, else 0; the word is random_word(key, row_ids[i][0],
  // row_ids[i][1] * D + j). row_ids i32 [T, 2] = (position of the sample in the global batch, token in the sample).
  // Its gradient is itself on dy.
  virtual void dropout(const Tensor& x, float p, const RandomKey& key, const Tensor& row_ids, Tensor y) = 0;

  // ---- attention -------------------------------------------------------------------------------------------------
  // Rotary embedding as LLaMA's: the pair (j, j + D/2) of a head turns by positions[t] * theta^(-2j/D). x, y [T, heads,
  // D] (y may be x); positions i32 [T]. inverse turns back: the gradient.
  virtual void rotary_embedding(const Tensor& x, const Tensor& positions, float theta, bool inverse, Tensor y) = 0;
  virtual void softmax(const Tensor& x, Tensor y) = 0;  // rows
  virtual void softmax_gradient(const Tensor& y, const Tensor& dy, Tensor dx) = 0;
  // out = softmax(scale q k^T) v by online softmax, no score matrix is kept. q, out [Tq, H, D]; k, v [Tk, Hkv, D], H a
  // multiple of Hkv (grouped queries); logsumexp f32 [Tq, H]. A query that sees no key gives 0.
  virtual void attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionShape& shape, Tensor out,
                         Tensor logsumexp) = 0;
  virtual void attention_gradient(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                                  const Tensor& out, const Tensor& logsumexp, const AttentionShape& shape, Tensor dq,
                                  Tensor dk, Tensor dv) = 0;

  // ---- rows by index ---------------------------------------------------------------------------------------------
  // y[i] = x[rows[i]], zeros where rows[i] < 0. rows i32 [n]. An embedding look-up, and the gradient of scatter_rows.
  virtual void gather_rows(const Tensor& x, const Tensor& rows, Tensor y) = 0;
  // y[rows[i]] = x[i] where rows[i] >= 0; rows are distinct. Splices visual tokens into text.
  virtual void scatter_rows(const Tensor& x, const Tensor& rows, Tensor y) = 0;
  // y[rows[i]] += x[i], y f32, in ascending i: the gradient of an embedding.
  virtual void scatter_add_rows(const Tensor& x, const Tensor& rows, Tensor y) = 0;
  // y [B (H/p) (W/p), C p p] <- pixels [B, C, H, W]
  virtual void extract_patches(const Tensor& pixels, std::int64_t patch, Tensor y) = 0;
  // y [B (H/p) (W/p), out] = linear(extract_patches(pixels)); a backend may do both at once.
  virtual void patch_embedding(const Tensor& pixels, std::int64_t patch, const LinearWeight& w, const Tensor& bias,
                               Tensor y);

  // ---- loss ------------------------------------------------------------------------------------------------------
  // losses f32 [T] = logsumexp - logits[label], 0 where label < 0; labels i32 [T]; logits [T, V]; logsumexp f32 [T].
  virtual void cross_entropy(const Tensor& logits, const Tensor& labels, Tensor losses, Tensor logsumexp) = 0;
  // dlogits = scale (softmax(logits) - onehot(label)), 0 where label < 0; dlogits may be logits.
  virtual void cross_entropy_gradient(const Tensor& logits, const Tensor& labels, const Tensor& logsumexp, float scale,
                                      Tensor dlogits) = 0;
  // out f64 [1] = sum of x, by fixed blocks, in f64
  virtual void sum(const Tensor& x, Tensor out) = 0;
  // best i32 [T] = the column of the largest, the first of equals
  virtual void argmax(const Tensor& x, Tensor best) = 0;

  // ---- optimizer -------------------------------------------------------------------------------------------------
  // outs[i] f64 [1] = sum of squares of xs[i], by fixed blocks of 4096 elements, in f64: the same however x is sharded
  // on blocks, and whatever else is in the list. All xs of one dtype.
  virtual void sum_of_squares(std::span<const Tensor> xs, std::span<const Tensor> outs) = 0;
  void sum_of_squares(const Tensor& x, const Tensor& out) { sum_of_squares({&x, 1}, {&out, 1}); }
  // count i32 [1] = elements of x that are NaN or infinite
  virtual void count_non_finite(const Tensor& x, Tensor count) = 0;
  // AdamW (Loshchilov and Hutter 2019), decoupled decay: master -= lr (m^ / (sqrt(v^) + eps) + decay master), of each
  // of the tensors, whatever else is in the list.
  virtual void adamw(std::span<const AdamWTensors> tensors, const AdamW& options) = 0;
  void adamw(Tensor master, Tensor m, Tensor v, const Tensor& gradient, Tensor value, const AdamW& options);
};

// The kernels of the device. Throws Error where the build has none for it.
Kernels& kernels(const Device& device);
inline Kernels& kernels(const Tensor& x) { return kernels(x.device()); }

// The device of a name: "cpu"; "cuda", the GPU number `local_rank` of this machine (counted round where there are
// fewer); "emulated-cuda", CUDA's kernels run on the CPU. Throws Error where this build or machine has no such device.
Device& open_device(std::string_view name, int local_rank = 0);

// Lets cuDNN compute these kinds of primitives on `device`, where it has an engine for the shapes, and skymm's own
// kernels all others: "attention" (with its gradient), "patch_embedding"; none: it computes nothing. Throws Error where
// the device is no GPU, or this build or machine has no cuDNN. Call before any kernel runs.
void use_cudnn(const std::vector<std::string>& kinds, const Device& device);

// Caps the CPU's instruction set, for tests and for comparison: "avx512", "avx2" or "sse4". Call before any kernel
// runs.
void cap_cpu_instruction_set(const char* name);

}  // namespace skymm
