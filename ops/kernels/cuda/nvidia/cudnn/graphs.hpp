// What cuDNN is asked for, as graphs of its operations.
#pragma once

#include <compare>

#include "ops/kernels/cuda/nvidia/cudnn/graph.hpp"

namespace skymm::cuda::cudnn {

// Of bf16 [sequences * length, heads, width], the width adjacent; in elements.
struct HeadSteps {
  std::int64_t token = 0, head = 0;
  auto operator<=>(const HeadSteps&) const = default;
};

// Attention, or its gradient, over sequences of one length: all that a plan depends on.
struct AttentionSizes {
  bool gradient = false;
  std::int64_t sequences = 0, queries = 0, keys = 0;  // of each sequence
  std::int64_t heads = 0, kv_heads = 0, width = 0;
  bool causal = false;  // with as many queries as keys
  float scale = 1.0F;
  HeadSteps q = {}, k = {}, v = {}, out = {};
  HeadSteps dout = {}, dq = {}, dk = {}, dv = {};  // of the gradient
  auto operator<=>(const AttentionSizes&) const = default;
};

// Patches of [images, channels, height, width] times a weight [out, channels, patch, patch], plus a bias [out]: rows of
// `out` elements. All of bf16, row-major.
struct PatchSizes {
  std::int64_t images = 0, channels = 0, height = 0, width = 0, patch = 0, out = 0;
  bool bias = false;
  auto operator<=>(const PatchSizes&) const = default;
};

// The memory that a graph takes. logsumexp and delta are f32 [sequences, heads, queries].
struct AttentionMemory {
  Graph::Value q = 0, k = 0, v = 0, out = 0, logsumexp = 0;
  Graph::Value dout = 0, delta = 0, dq = 0, dk = 0, dv = 0;  // of the gradient
};
struct PatchMemory {
  Graph::Value pixels = 0, weight = 0, bias = 0, y = 0;
};

template <class Memory>
struct GraphOf {
  Graph graph;
  Memory memory;
};
GraphOf<AttentionMemory> graph_of(const AttentionSizes& sizes);
GraphOf<PatchMemory> graph_of(const PatchSizes& sizes);

}  // namespace skymm::cuda::cudnn
