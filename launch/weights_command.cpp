#include "launch/weights_command.hpp"

#include "launch/command.hpp"
#include "launch/weights_convert.hpp"

namespace skymm {

int weights_command(const std::vector<std::string>& arguments) {
  static const std::vector<Command> table = {
      {"convert", "write a file's weights in another format: bf16, int8, nf4", convert_command},
      {"synthesize", "write random weights of a decoder, for tests of size and speed", synthesize_command},
  };
  return dispatch("skymm weights", "Files of weights.", table, arguments);
}

}  // namespace skymm
