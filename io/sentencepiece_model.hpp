// What libsentencepiece takes for granted of a model and what takes the program down where it does not hold.
#pragma once

#include <string>
#include <string_view>

namespace skymm {

// `bytes`: a serialised ModelProto (github.com/google/sentencepiece, src/sentencepiece_model.proto). Throws Error,
// which names `path`, where it is cut, pieces are empty, come twice or hold a zero byte, or the table of a normaliser
// points out of itself.
void check_sentencepiece_model(std::string_view bytes, const std::string& path);

}  // namespace skymm
