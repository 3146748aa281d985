// Notices a rank that hangs: reports which ranks wait in which call, and for whom, and ends the job.
#pragma once

namespace skymm {

// How long a rank may wait in a communicator call without anything moving; 300 at first, 0: for ever. Of the whole
// process; takes effect at once.
void set_watchdog_limit(double seconds);
double watchdog_limit();

}  // namespace skymm
