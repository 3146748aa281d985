// Where every thread of this process is, for a person who looks at a rank that hangs.
#pragma once

#include <string>

namespace skymm {

// From here on write_stacks() has a place to write to: <dir>/stacks/rank_<rank>.txt. "" (at first): none. Installs the
// signal handler that it needs.
void set_stacks_folder(const std::string& run_dir);

// Appends the call stacks of all threads but the caller's to that file, with `why` above them; at once, also while
// those threads hang. A thread that blocks signals, or that is stuck in the kernel, is listed without its stack. Names
// of functions in the program itself need `addr2line -Cfe skymm +0x1234`. Returns the file, or "" where there is none.
std::string write_stacks(const std::string& why);

}  // namespace skymm
