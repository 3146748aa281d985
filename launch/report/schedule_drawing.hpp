// A schedule as a picture: a row a stage, a box a computation with the micro-batch's number in it, along virtual time.
#pragma once

#include <string>

#include "parallel/pipeline/simulation.hpp"

namespace skymm {

// "1f1b, 4 stages, 8 micro-batches: 27.3 % of the time is bubble (6 of 22); a stage keeps the activations of at most 4
// micro-batches"; of chunks in parts of a stage's.
std::string summary_of(const Schedule& schedule, const Timeline& timeline);

// An SVG document of its own, light, with a legend, and the summary as its caption. Computations that take no time have
// no box. Classes of the boxes: forward, backward, weight; c0, c1, ... for the chunk. Throws Error where the boxes are
// too many to tell apart.
std::string draw_schedule(const Schedule& schedule, const Timeline& timeline);

}  // namespace skymm
