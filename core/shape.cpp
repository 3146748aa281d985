#include "core/shape.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace skymm {

Shape::Shape(std::initializer_list<std::int64_t> dims) {
  for (const std::int64_t dim : dims) push_back(dim);
}

void Shape::push_back(std::int64_t dim) {
  check(rank_ < max_rank, "a tensor has at most {} dimensions", max_rank);
  check(dim >= 0, "dimension {} is {}: dimensions are not negative", rank_, dim);
  dims_[rank_++] = dim;
}

std::int64_t Shape::at(int i) const {
  const int index = i < 0 ? i + rank_ : i;
  check(index >= 0 && index < rank_, "dimension {} of shape {} does not exist", i, *this);
  return dims_[index];
}

std::int64_t Shape::numel() const {
  std::int64_t n = 1;
  for (const std::int64_t dim : *this) n *= dim;
  return n;
}

bool Shape::operator==(const Shape& other) const {
  return rank_ == other.rank_ && std::equal(begin(), end(), other.begin());
}

std::string Shape::str() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) text += (i > 0 ? ", " : "") + std::to_string(dims_[i]);
  return text + "]";
}

}  // namespace skymm
