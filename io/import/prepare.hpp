// From a record to a sample: its pictures are read and checked, its texts too.
#pragma once

#include <optional>
#include <string>

#include "io/import/record.hpp"

namespace skymm {

enum class PictureCheck : std::uint8_t {
  scan,    // scan_image: finds what is truncated; what is damaged within is found by the loader, which leaves it out
  decode,  // decoded too; a JPEG's coefficients all of them, at an eighth of its size
};

struct PrepareOptions {
  std::string images;     // folder that pictures' names are relative to
  bool confined = false;  // names must not lead out of it
  PictureCheck check = PictureCheck::scan;
  std::optional<Language> language;  // none: by its letters
  std::string source;                // of every sample
};

// Reads the record's pictures and completes its sample, or refuses it. Thread-safe; never throws for what it holds.
void prepare(Record& record, const PrepareOptions& options);

// Chinese where at least three letters of ten are hanzi, else English where there are any letters, else none.
Language language_of(const Sample& sample);

}  // namespace skymm
