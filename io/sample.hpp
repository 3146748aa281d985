// One training or evaluation sample: pictures and a conversation about them, as parts in their order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace skymm {

enum class Language : std::uint8_t { none, english, chinese };
enum class Polarity : std::uint8_t { none, positive, negative };  // negative: about what is not in the picture

// A user's turn is the text and image parts up to the next answer; training's loss is on answers only.
struct Part {
  enum class Kind : std::uint8_t { text, image, answer };
  Kind kind = Kind::text;
  std::string text;                    // text and answer: UTF-8
  int image = -1;                      // image: index into Sample::images
  Polarity polarity = Polarity::none;  // answer: what the question it answers is about
  std::string task = {};               // answer: "caption", "existence", "count", ... (MME's names)
};

struct Sample {
  std::string id;
  std::vector<std::string> images;  // encoded bytes (PNG, JPEG or WebP)
  std::vector<Part> parts;
  Language language = Language::none;
  std::string source;       // where it came from: "emoji", "stamps", "canvas", ...
  std::string annotations;  // JSON, what is known of the picture (docs/formats.md); empty where there is none
};

// A numbered collection of samples: a data set, several joined, or a test's. Thread-safe.
class SampleSource {
 public:
  virtual ~SampleSource() = default;
  virtual std::int64_t size() const = 0;
  // Throws Error where the sample is damaged.
  virtual Sample read(std::int64_t index) const = 0;
  virtual Language language(std::int64_t) const { return Language::none; }
  // How many samples are of a language, and which is the k-th of them (from 0). A large source knows without looking.
  virtual std::int64_t count(Language of) const;
  virtual std::int64_t find(Language of, std::int64_t k) const;
  // A cheap measure of the sample's length (bytes of text, pictures), by which work is dealt out evenly.
  struct Extent {
    std::int64_t text_bytes = 0;
    int images = 0;
  };
  virtual Extent extent(std::int64_t) const { return {}; }
};

inline Part text_part(std::string text) { return {Part::Kind::text, std::move(text), -1}; }
inline Part image_part(int image) { return {Part::Kind::image, {}, image}; }
inline Part answer_part(std::string text, std::string task = {}, Polarity polarity = Polarity::none) {
  return {Part::Kind::answer, std::move(text), -1, polarity, std::move(task)};
}

}  // namespace skymm
