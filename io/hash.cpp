#include "io/hash.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace skymm {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::uint64_t p1 = 0x9E3779B185EBCA87, p2 = 0xC2B2AE3D27D4EB4F, p3 = 0x165667B19E3779F9,
                        p4 = 0x85EBCA77C2B2AE63, p5 = 0x27D4EB2F165667C5;

std::uint64_t load64(const unsigned char* p) {
  std::uint64_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

std::uint64_t round_of(std::uint64_t lane, std::uint64_t word) { return std::rotl(lane + word * p2, 31) * p1; }

const unsigned char* stripes(std::uint64_t* lanes, const unsigned char* p, std::size_t count) {
  std::uint64_t a = lanes[0], b = lanes[1], c = lanes[2], d = lanes[3];
  for (; count > 0; --count, p += 32) {
    a = round_of(a, load64(p));
    b = round_of(b, load64(p + 8));
    c = round_of(c, load64(p + 16));
    d = round_of(d, load64(p + 24));
  }
  lanes[0] = a, lanes[1] = b, lanes[2] = c, lanes[3] = d;
  return p;
}

// The elements of `x` in row-major order.
void add_elements(Hash64& hash, const Tensor& x) {
  const Tensor plain = x.contiguous().to(cpu());
  current_stream(cpu()).synchronize();
  hash.add(plain.raw(), plain.bytes());
}

}  // namespace

Hash64::Hash64(std::uint64_t seed) : seed_(seed), lanes_{seed + p1 + p2, seed + p2, seed, seed - p1} {}

void Hash64::add(const void* data, std::size_t bytes) {
  const auto* p = static_cast<const unsigned char*>(data);
  total_ += bytes;
  if (kept_ > 0) {
    const std::size_t take = std::min(bytes, sizeof rest_ - kept_);
    std::memcpy(rest_ + kept_, p, take);
    kept_ += take, p += take, bytes -= take;
    if (kept_ < sizeof rest_) return;
    stripes(lanes_, rest_, 1);
    kept_ = 0;
  }
  p = stripes(lanes_, p, bytes / 32);
  kept_ = bytes % 32;
  if (kept_ > 0) std::memcpy(rest_, p, kept_);
}

std::uint64_t Hash64::digest() const {
  std::uint64_t h = seed_ + p5;
  if (total_ >= 32) {
    h = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) + std::rotl(lanes_[3], 18);
    for (const std::uint64_t lane : lanes_) h = (h ^ round_of(0, lane)) * p1 + p4;
  }
  h += total_;
  const unsigned char* p = rest_;
  std::size_t n = kept_;
  for (; n >= 8; n -= 8, p += 8) h = std::rotl(h ^ round_of(0, load64(p)), 27) * p1 + p4;
  if (n >= 4) {
    std::uint32_t word;
    std::memcpy(&word, p, sizeof word);
    h = std::rotl(h ^ word * p1, 23) * p2 + p3;
    n -= 4, p += 4;
  }
  for (; n > 0; --n, ++p) h = std::rotl(h ^ *p * p5, 11) * p1;
  h = (h ^ h >> 33) * p2;
  h = (h ^ h >> 29) * p3;
  return h ^ h >> 32;
}

std::uint64_t hash64(const void* data, std::size_t bytes) {
  Hash64 hash;
  hash.add(data, bytes);
  return hash.digest();
}

std::uint64_t content_hash(const NamedTensors& tensors) {
  std::vector<const std::pair<std::string, Tensor>*> order;
  for (const auto& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->first < b->first; });
  Hash64 hash;
  for (const auto* entry : order) {
    const auto& [name, x] = *entry;
    hash.add_value(name.size());
    hash.add(name.data(), name.size());
    hash.add_value(x.dtype());
    hash.add_value(x.rank());
    for (const std::int64_t dim : x.shape()) hash.add_value(dim);
    add_elements(hash, x);
  }
  return hash.digest();
}

}  // namespace skymm
