#include "launch/training/lvm_data.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "io/picturebook/concepts.hpp"

namespace skymm {
namespace {

using nlohmann::json;

// "red circle", "红色圆形": what a caption calls the object.
std::pair<std::string, std::string> names_of(const json& object) {
  std::string english = object.at("name_en"), chinese = object.at("name_zh");
  if (object.contains("color")) {
    const std::string colour = object.at("color");
    const auto found = std::ranges::find(colours, colour, &Colour::en);
    check(found != colours.end(), "the annotation's colour '{}' is none of the picture book's", colour);
    english = colour + " " + english;
    chinese = std::string(found->zh) + chinese;
  }
  return {english, chinese};
}

std::string caption(const Sample& sample) {
  for (const Part& part : sample.parts) {
    if (part.kind == Part::Kind::answer) return part.text;
  }
  fail("sample {} has no caption", sample.id);
}

}  // namespace

LvmData::LvmData(std::shared_ptr<const Dataset> dataset, const ImageSpec& images, int patch)
    : dataset_(std::move(dataset)), images_(images), patch_(patch) {
  std::map<std::int64_t, Pair> by_picture;
  std::map<std::string, std::string> names;
  for (std::int64_t i = 0; i < dataset_->size(); ++i) {
    const SampleInfo info = dataset_->info(i);
    if (info.source != "canvas" || info.images != 1) continue;
    Pair& pair = by_picture[dataset_->image_numbers(i)[0]];
    (info.language == Language::chinese ? pair.chinese : pair.english) = i;
    if (by_picture.size() > 4000 || info.language == Language::chinese) continue;  // so many show every name
    const Sample sample = dataset_->read(i, false);
    check(!sample.annotations.empty(), "{}: sample {} has no annotations; the LVM is trained on annotated canvases",
          dataset_->path(), sample.id);
    const json annotations = json::parse(sample.annotations);
    for (const json& object : annotations.at("objects")) names.insert(names_of(object));
  }
  names_.english.emplace_back("nothing");
  names_.chinese.emplace_back("空白");
  for (const auto& [english, chinese] : names) {
    names_.english.push_back(english);
    names_.chinese.push_back(chinese);
  }
  for (const auto& [picture, pair] : by_picture) {
    if (pair.english >= 0 && pair.chinese >= 0) pairs_.push_back(pair);
  }
  check(!pairs_.empty(), "{}: holds no canvas with captions in both languages", dataset_->path());
}

LvmExample LvmData::read(std::int64_t index) const {
  const Pair& pair = pairs_[static_cast<std::size_t>(index)];
  const Sample english = dataset_->read(pair.english);
  LvmExample example;
  example.pixels = load_pixels(english.images.at(0), images_);
  example.english = caption(english);
  example.chinese = caption(dataset_->read(pair.chinese, false));

  // A patch is its object's if most of it lies in the object's box, the ground if none of it lies in any box.
  const json annotations = json::parse(english.annotations);
  const int grid = images_.size / patch_;
  std::vector<double> best(static_cast<std::size_t>(grid * grid), 0.0);
  example.patches.assign(best.size(), 0);
  const auto cover = [&](const json& box, std::int32_t name) {
    const double x = box.at("x"), y = box.at("y"), w = box.at("w"), h = box.at("h");
    for (int row = 0; row < grid; ++row) {
      for (int column = 0; column < grid; ++column) {
        const double left = std::max<double>(x, column * patch_),
                     right = std::min<double>(x + w, (column + 1) * patch_);
        const double top = std::max<double>(y, row * patch_), bottom = std::min<double>(y + h, (row + 1) * patch_);
        const double share = std::max(0.0, right - left) * std::max(0.0, bottom - top) / (patch_ * patch_);
        const auto at = static_cast<std::size_t>(row * grid + column);
        if (share <= best[at]) continue;
        best[at] = share;
        example.patches[at] = share >= 0.5 ? name : -1;
      }
    }
  };
  for (const json& object : annotations.at("objects")) {
    const auto found =
        std::ranges::lower_bound(names_.english.begin() + 1, names_.english.end(), names_of(object).first);
    const bool known = found != names_.english.end() && *found == names_of(object).first;
    cover(object, known ? static_cast<std::int32_t>(found - names_.english.begin()) : -1);
  }
  if (annotations.contains("text") && annotations.at("text").is_object()) cover(annotations.at("text"), -1);
  return example;
}

}  // namespace skymm
