#include "core/random.hpp"

#include <cmath>
#include <numbers>

namespace skymm {

float RandomStream::normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  const float radius = std::sqrt(-2.0F * std::log(1.0F - uniform()));
  const float angle = 2.0F * std::numbers::pi_v<float> * uniform();
  spare_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

}  // namespace skymm
