// What the stages of ZeRO hold and move on each rank, in bytes, from sizes alone. n ranks share P trainable parameters
// of w bytes each (2: bf16, 4: f32); the largest chunk has C of them, a bucket b; a step has M micro-batches and
// gathers the weights of a chunk G times (add_zero: once where a pipeline's stage has one chunk, else up to 2 M times).
//
//            weights        gradients      states    buffer       sent a step, and as much received
//   stage 0  w P            4 P            12 P      -            8 P          (n - 1) / n
//   stage 1  w P            4 P            12 P / n  2 w b        (4 + w) P     (n - 1) / n
//   stage 2  w P            4 P / n + 4 C  12 P / n  32 b         (4 M + w) P   (n - 1) / n
//   stage 3  w P / n + w C  4 P / n + 4 C  12 P / n  32 b or w C  (4 M + w G) P (n - 1) / n
//
// 32 b: up to four sums are under way at once (Reductions::most), each with 4 b to send and 4 b to receive; without
// overlap there is one, so 8 b. Buffers are never more than what trains. Ranks whose GPUs exchange tensors by NCCL make
// the sums of stages 0 and 1 in device memory: there the buffer is 16 b at least.
//
// The terms in C are there while a chunk works on a micro-batch; a stage of several chunks gathers one ahead, and so
// has w times those of two chunks. At stage 3 the weights under way lie in the buffer, which a micro-batch's gradients
// use at another time. States: f32 masters and two moments. Frozen weights and what communicators need for themselves
// are not counted, nor is the padding of a bucket to a multiple of n.
#pragma once

#include <cstdint>
#include <vector>

#include "core/dtype.hpp"
#include "parallel/zero/optimizer.hpp"

namespace skymm {

struct ZeroSizes {
  std::vector<std::int64_t> chunks;  // trainable parameters of each chunk of this rank
  DType dtype = DType::bf16;         // that the model computes in
  int ranks = 1;                     // data-parallel
  int micro_batches = 1;             // a step
  int gathers = 1;                   // of each chunk's weights in a step, at stage 3
  int gathered = 1;                  // chunks whose weights are whole at the same time, at stage 3
  bool by_nccl = false;
};

// The most that is held at once.
struct ZeroMemory {
  std::int64_t weights = 0, gradients = 0, optimizer = 0, communication = 0;
};
ZeroMemory zero_memory(const ZeroOptions& zero, const ZeroSizes& sizes);

struct ZeroTraffic {
  std::int64_t gradients = 0, weights = 0;  // bytes that this rank sends in a step; it receives as many
};
ZeroTraffic zero_traffic(const ZeroOptions& zero, const ZeroSizes& sizes);

// What is frozen and spread over n ranks (zero/frozen.hpp): W bytes in all, of which the largest layer has L. A step
// gathers layers of G bytes together.
//
//   weights    buffer  sent a step, and as much received
//   W / n + L  L       G (n - 1) / n
//
// What fills a layer's parts up to a multiple of n is not counted.
ZeroMemory frozen_memory(std::int64_t bytes, std::int64_t largest_layer, int ranks);
std::int64_t frozen_traffic(std::int64_t gathered, int ranks);

}  // namespace skymm
