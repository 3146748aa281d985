// What the writer and the reader of a data set's file share. The description is docs/formats.md.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "io/sample.hpp"

namespace skymm {

constexpr std::string_view dataset_format = "skymm samples";
constexpr int dataset_version = 2;  // version 1 is read too; it has no images/xxh64

// The arrays that say where everything lies, in the order in which the index checksum runs.
enum class IndexArray : std::uint8_t {
  picture_offsets,  // u64 [images + 1], bytes from the start of the pictures
  picture_crc32c,   // u32 [images]
  sample_offsets,   // u64 [samples + 1], bytes from the start of the conversations
  sample_crc32c,    // u32 [samples]
  language,         // u8 [samples]
  source,           // u16 [samples], into the header's "sources"
  image_offsets,    // u64 [samples + 1], into image_numbers
  image_numbers,    // u64, the samples' pictures end to end
  picture_xxh64,    // u64 [images]
};

struct IndexArrayInfo {
  const char* name;
  std::size_t element_bytes;
};
constexpr std::array<IndexArrayInfo, 9> index_arrays = {{{"images/offsets", 8},
                                                         {"images/crc32c", 4},
                                                         {"samples/offsets", 8},
                                                         {"samples/crc32c", 4},
                                                         {"samples/language", 1},
                                                         {"samples/source", 2},
                                                         {"samples/image_offsets", 8},
                                                         {"samples/image_numbers", 8},
                                                         {"images/xxh64", 8}}};
// Those that a file of this version has: the first so many.
constexpr std::size_t index_arrays_of(int version) { return version == 1 ? 8 : 9; }

// A sample's conversation as stored: JSON without pictures, language and source. Throws Error for a part that names no
// picture and for text that is not UTF-8.
std::string encode_conversation(const Sample& sample);
// Sets id, parts and annotations. Throws nlohmann's exceptions where the text is no conversation.
void decode_conversation(std::string_view text, Sample& sample);

}  // namespace skymm
