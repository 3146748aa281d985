// A copy of a data set in the other language, made of translations that were written elsewhere.
#pragma once

#include <cstdint>
#include <string>

#include "io/sample.hpp"

namespace skymm {

struct TranslateResult {
  std::int64_t translated = 0, without_translation = 0;
};

// translations: JSON lines {"id", "texts": [...]}, the texts and answers of a sample in their order; or a table (.csv,
// .tsv) with the columns "source" and "translation", by which each text is looked up. A sample of which any text has no
// translation is left out and counted. The copy of sample X is named X-zh (or -en), shares its picture, and its
// annotations say {"translation_of": X}. Throws Error where the lines or the table are not as above.
TranslateResult translate_dataset(const std::string& input, const std::string& translations, const std::string& output,
                                  Language to);

}  // namespace skymm
