// Which chat template a run writes its prompts by.
#pragma once

#include <string>

#include "launch/config/config.hpp"

namespace skymm {

// data.chat_template; for auto, the one of ours that writes as the chat template of the pretrained decoder (or of the
// tokenizer that is given for it) does. Throws Error, with what was looked at, where there is none or none is known.
std::string chat_form(const TrainConfig& config);

}  // namespace skymm
