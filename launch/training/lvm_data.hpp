// What the LVM learns from: composed canvases, whose annotations say what stands where.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/dataset.hpp"
#include "io/pixels.hpp"
#include "io/sampler.hpp"
#include "io/tokenizer.hpp"
#include "ops/models/lvm.hpp"

namespace skymm {

// The names that patches learn, the same index in both languages. Name 0 is the ground, "nothing".
struct NameList {
  std::vector<std::string> english, chinese;
  std::int64_t size() const { return static_cast<std::int64_t>(english.size()); }
};

// One canvas as it is learnt from.
struct LvmExample {
  std::vector<float> pixels;          // [3, size, size]
  std::vector<std::int32_t> patches;  // [grid * grid] index into the names; -1: a patch that shows part of something
  std::string english, chinese;       // captions
};

class LvmData {
 public:
  // `dataset` holds canvases, each as one sample a language (they share the picture). Throws Error where it has no
  // annotations.
  LvmData(std::shared_ptr<const Dataset> dataset, const ImageSpec& images, int patch);

  std::int64_t size() const { return static_cast<std::int64_t>(pairs_.size()); }  // canvases
  const NameList& names() const { return names_; }
  LvmExample read(std::int64_t index) const;  // thread-safe

 private:
  std::shared_ptr<const Dataset> dataset_;
  ImageSpec images_;
  int patch_;
  NameList names_;
  struct Pair {
    std::int64_t english = -1, chinese = -1;  // samples
  };
  std::vector<Pair> pairs_;
};

}  // namespace skymm
