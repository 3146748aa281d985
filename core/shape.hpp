// The dimensions of a tensor: at most six, kept inline.
#pragma once

#include <fmt/core.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace skymm {

class Shape {
 public:
  static constexpr int max_rank = 6;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims);  // throws Error on more than six or on a negative one

  int rank() const { return rank_; }
  std::int64_t operator[](int i) const { return dims_[i]; }
  std::int64_t& operator[](int i) { return dims_[i]; }
  std::int64_t at(int i) const;  // counts from the end where negative; throws Error out of range
  std::int64_t numel() const;    // 1 for rank 0
  void push_back(std::int64_t dim);

  const std::int64_t* begin() const { return dims_.data(); }
  const std::int64_t* end() const { return dims_.data() + rank_; }

  bool operator==(const Shape& other) const;
  std::string str() const;  // "[2, 3]"

 private:
  std::array<std::int64_t, max_rank> dims_{};
  int rank_ = 0;
};

}  // namespace skymm

// As str(). check(ok, "... {}", shape) makes the text only where it fails.
template <>
struct fmt::formatter<skymm::Shape> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(const skymm::Shape& shape, Context& context) const {
    return fmt::formatter<std::string_view>::format(shape.str(), context);
  }
};
