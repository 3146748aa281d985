// `skymm chat`: asks a run about a picture, once or in a conversation on the terminal.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace skymm {

// The arguments after `chat`. Returns the exit code; throws UsageError for arguments that make no sense, and Error,
// which names the file, for a picture of --image that cannot be read. Within the conversation such errors are printed,
// and it goes on.
int chat_command(const std::vector<std::string>& arguments);
// The same between streams. `prompt` is printed before each line that is read.
int chat_command(const std::vector<std::string>& arguments, std::istream& in, std::ostream& out,
                 const std::string& prompt = "");

}  // namespace skymm
