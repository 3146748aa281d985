// How the trainable parameters of a chunk lie in flat memory: one after the other, cut into the buckets that one
// collective moves. Each of the ranks that share the chunk owns an equal part of every bucket:
//
//   parameters  aaaaaaaabbbbbbbbbbbbccc.     (.: padding, at the end of the last bucket)
//   buckets     aaaaaaaabbbb bbbbbbbbccc.
//   owned by    000000111111 000000111111    two ranks
//
// A rank's parts, one after the other, are its shard of the chunk. Pure functions of sizes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace skymm {

// Elements [begin, end), row-major, of one parameter, that lie in flat memory from `at` on.
struct Piece {
  std::size_t parameter = 0;
  std::int64_t begin = 0, end = 0;
  std::int64_t at = 0;

  std::int64_t size() const { return end - begin; }
  bool operator==(const Piece&) const = default;
};

struct Bucket {
  std::int64_t size = 0;      // elements, a multiple of the number of ranks ...
  std::int64_t used = 0;      // ... of which so many are not padding
  std::int64_t shard_at = 0;  // where a rank's part of it lies in the rank's shard
  std::vector<Piece> pieces;  // in the order of parameters; `at` counts in the bucket

  // The pieces, or what is in it of them, of its elements [first, last).
  std::vector<Piece> pieces_in(std::int64_t first, std::int64_t last) const;
};

struct FlatLayout {
  int ranks = 1;
  std::int64_t shard_size = 0;  // elements that a rank owns, padding included
  std::vector<Bucket> buckets;

  std::int64_t part(const Bucket& bucket) const { return bucket.size / ranks; }
  // Where in the chunk, all buckets one after the other, the element `at` of a rank's shard lies.
  std::int64_t in_whole(std::int64_t at, int rank) const;
  std::int64_t size() const { return shard_size * ranks; }
};

// sizes: elements of each parameter. Buckets have at most `bucket_elements`, but at least one for each rank.
FlatLayout flat_layout(const std::vector<std::int64_t>& sizes, int ranks, std::int64_t bucket_elements);

// What `rank` owns; `at` counts in its shard. Pieces that continue each other are one.
std::vector<Piece> owned_pieces(const FlatLayout& layout, int rank);

}  // namespace skymm
