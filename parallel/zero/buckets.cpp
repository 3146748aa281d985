#include "parallel/zero/buckets.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace skymm {

FlatLayout flat_layout(const std::vector<std::int64_t>& sizes, int ranks, std::int64_t bucket_elements) {
  check(ranks > 0 && bucket_elements > 0, "buckets of {} elements for {} ranks; both must be positive", bucket_elements,
        ranks);
  const std::int64_t most = std::max<std::int64_t>(1, bucket_elements / ranks) * ranks;
  FlatLayout layout{.ranks = ranks};
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    for (std::int64_t begin = 0; begin < sizes[i];) {
      if (layout.buckets.empty() || layout.buckets.back().used == most) layout.buckets.emplace_back();
      Bucket& bucket = layout.buckets.back();
      const std::int64_t count = std::min(sizes[i] - begin, most - bucket.used);
      bucket.pieces.push_back({i, begin, begin + count, bucket.used});
      bucket.used += count;
      begin += count;
    }
  }
  for (Bucket& bucket : layout.buckets) {
    const std::int64_t part = (bucket.used + ranks - 1) / ranks;
    bucket.size = part * ranks;
    bucket.shard_at = layout.shard_size;
    layout.shard_size += part;
  }
  return layout;
}

std::vector<Piece> Bucket::pieces_in(std::int64_t first, std::int64_t last) const {
  std::vector<Piece> within;
  for (const Piece& piece : pieces) {
    const std::int64_t from = std::max(first, piece.at), to = std::min(last, piece.at + piece.size());
    if (from >= to) continue;
    const std::int64_t begin = piece.begin + from - piece.at;
    within.push_back({piece.parameter, begin, begin + to - from, from});
  }
  return within;
}

std::int64_t FlatLayout::in_whole(std::int64_t at, int rank) const {
  const auto after = std::ranges::upper_bound(buckets, at, {}, &Bucket::shard_at);
  check(after != buckets.begin() && at < shard_size, "element {} of a shard of {}", at, shard_size);
  const Bucket& bucket = *std::prev(after);
  return bucket.shard_at * ranks + rank * part(bucket) + at - bucket.shard_at;
}

std::vector<Piece> owned_pieces(const FlatLayout& layout, int rank) {
  std::vector<Piece> owned;
  for (const Bucket& bucket : layout.buckets) {
    const std::int64_t first = rank * layout.part(bucket);
    for (Piece piece : bucket.pieces_in(first, first + layout.part(bucket))) {
      piece.at += bucket.shard_at - first;
      if (!owned.empty() && owned.back().parameter == piece.parameter && owned.back().end == piece.begin) {
        owned.back().end = piece.end;
      } else {
        owned.push_back(piece);
      }
    }
  }
  return owned;
}

}  // namespace skymm
