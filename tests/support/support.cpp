namespace skymm::testing {}
