#pragma once

#include <type_traits>

namespace skymm {

// The first multiple of `unit` from n on; n from 0, unit from 1.
template <class T>
constexpr T round_up(T n, std::type_identity_t<T> unit) {
  return (n + unit - 1) / unit * unit;
}

}  // namespace skymm
