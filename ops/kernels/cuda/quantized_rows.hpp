// Rows of int8 or NF4 codes as an operand of a product: dequantised on their way into shared memory, tile by tile.
// The formats are those of core/quantized_tensor.hpp.
#pragma once

#include "core/quantized_tensor.hpp"
#include "ops/kernels/cuda/tile.hpp"

namespace skymm::cuda {

// nf4_values, where device code may index them.
struct Nf4Table {
  float values[16];
};
constexpr Nf4Table make_nf4_table() {
  Nf4Table table{};
  for (int i = 0; i < 16; ++i) table.values[i] = nf4_values[i];
  return table;
}
__device__ constexpr Nf4Table nf4_table = make_nf4_table();

// One QuantizedTensor in device memory; its first row is the row `begin` of the weight.
struct QuantizedPart {
  const std::uint8_t* codes;
  const void* scales;   // f32, or i8 of steps and offset
  const float* steps;   // null unless scales are quantised too
  const float* offset;  // of the scales, f32 [1]
  std::int64_t begin;

  __device__ float scale(std::int64_t at) const {
    if (steps == nullptr) return static_cast<const float*>(scales)[at];
    return *offset + steps[at / scale_group] * static_cast<float>(static_cast<const std::int8_t*>(scales)[at]);
  }
};

// Parts of one format and width, one after the other.
template <QuantizedFormat Format>
struct QuantizedRows {
  static constexpr bool is_nf4 = Format == QuantizedFormat::nf4;
  static constexpr int most_parts = 4;
  static constexpr int words = is_nf4 ? 1 : 2;  // of 32 bits, that a chunk's codes take

  QuantizedPart parts[most_parts];
  int count;
  std::int64_t rows, columns, code_bytes, blocks;  // the last two: of a row
  bool aligned;                                    // the codes of a chunk may be read as words

  // The codes of a chunk, between their fetch and their store as bf16.
  struct Held {
    unsigned codes[words];
    float scale;
  };
  // Transposed, a thread's chunks are of different rows, and so of parts and scales: they need more registers.
  static constexpr bool crowded_transposed = is_nf4;

  // A copy of the table where sixteen lanes may read sixteen entries at once. Before the first value is decoded.
  __device__ void begin() const {
    if constexpr (is_nf4) {
      float* const table = shared_table();
      if (threadIdx.x < 16) table[threadIdx.x] = nf4_table.values[threadIdx.x];
      __syncthreads();
    }
  }

  // The chunk at `column`, a multiple of 8, of a row. Zeros outside.
  __device__ void fetch(Held& held, bf16*, std::int64_t row, std::int64_t column) const {
    held = {};
    if (row >= rows || column >= columns) return;
    const QuantizedPart part = part_of(row);
    const std::int64_t byte = is_nf4 ? column / 2 : column;
    const std::uint8_t* const codes = part.codes + (row - part.begin) * code_bytes + byte;
    if (aligned) {
      for (int i = 0; i < words; ++i) held.codes[i] = load_vector<unsigned>(codes + 4 * i);
    } else {
#pragma unroll 1
      for (int i = 0; i < 4 * words && byte + i < code_bytes; ++i) {
        const unsigned bits = static_cast<unsigned>(codes[i]) << i % 4 * 8;
        if (i < 4) {
          held.codes[0] |= bits;
        } else {
          held.codes[words - 1] |= bits;
        }
      }
    }
    held.scale = part.scale((row - part.begin) * blocks + (is_nf4 ? column / nf4_block : 0));
  }

  __device__ void finish(const Held& held, bf16* to, std::int64_t, std::int64_t column) const {
    unsigned pairs[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const std::int64_t c = column + 2 * i;
      const float first = c < columns ? decode(held, 2 * i) : 0.0F;
      const float second = c + 1 < columns ? decode(held, 2 * i + 1) : 0.0F;
      pairs[i] = pack_bf16(first, second);
    }
    store_vector(to, make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]));
  }

  // One element, for products without tensor cores.
  __device__ float at(std::int64_t row, std::int64_t column) const {
    if (row >= rows || column >= columns) return 0.0F;
    const QuantizedPart part = part_of(row);
    const std::uint8_t* const codes = part.codes + (row - part.begin) * code_bytes;
    const float scale = part.scale((row - part.begin) * blocks + (is_nf4 ? column / nf4_block : 0));
    if constexpr (is_nf4) return scale * nf4(codes[column / 2] >> (column % 2 == 0 ? 4 : 0));
    return scale * static_cast<float>(static_cast<std::int8_t>(codes[column]));
  }

 private:
  __device__ static float* shared_table() {
    SKYMM_SHARED_ARRAY(float, table, 16);
    return table;
  }
  __device__ static float nf4(unsigned code) { return shared_table()[code & 15U]; }

  __device__ static float decode(const Held& held, int i) {
    const unsigned byte = held.codes[is_nf4 ? 0 : i / 4] >> (is_nf4 ? i / 2 : i % 4) * 8;
    if constexpr (is_nf4) return held.scale * nf4(byte >> (i % 2 == 0 ? 4 : 0));
    return held.scale * static_cast<float>(static_cast<std::int8_t>(byte & 255U));
  }

  __device__ QuantizedPart part_of(std::int64_t row) const {
    QuantizedPart part = parts[0];
#pragma unroll
    for (int i = 1; i < most_parts; ++i) {
      if (i < count && row >= parts[i].begin) part = parts[i];
    }
    return part;
  }
};

// The same as elements [outer, k] of a product without tensor cores.
template <QuantizedFormat Format, bool Transposed>
struct QuantizedElements {
  QuantizedRows<Format> codes;

  __device__ void begin() const { codes.begin(); }
  __device__ float at(std::int64_t outer, std::int64_t k) const {
    return Transposed ? codes.at(k, outer) : codes.at(outer, k);
  }
  __device__ bool k_adjacent() const { return !Transposed; }
};

}  // namespace skymm::cuda
