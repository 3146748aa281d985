#include "io/checkpoint_header.hpp"

#include <fmt/format.h>

namespace skymm {

using Json = nlohmann::json;

Json checkpoint_header(const CheckpointInfo& info, const std::vector<StoredTensor>& tensors) {
  Json header = {{"format", "skymm checkpoint"},
                 {"version", checkpoint_version},
                 {"step", info.step},
                 {"updates", info.updates},
                 {"seed", info.seed},
                 {"position", info.position},
                 {"frozen", info.frozen},
                 {"origins", Json::array()},
                 {"config", info.config},
                 {"code_version", info.code_version},
                 {"metrics", info.metrics},
                 {"grid", info.grid},
                 {"tensors", Json::array()}};
  for (const WeightOrigin& origin : info.origins) {
    header["origins"].push_back({{"path", origin.path}, {"bytes", origin.bytes}, {"xxh64", origin.hash}});
  }
  for (const StoredTensor& tensor : tensors) {
    header["tensors"].push_back({{"name", tensor.name},
                                 {"shape", std::vector<std::int64_t>(tensor.shape.begin(), tensor.shape.end())},
                                 {"moments", tensor.moments},
                                 {"begins", tensor.begins}});
  }
  return header;
}

CheckpointInfo checkpoint_info(const Json& header) {
  CheckpointInfo info{.step = header.at("step").get<std::int64_t>(),
                      .seed = header.at("seed").get<std::uint64_t>(),
                      .position = header.at("position").get<std::int64_t>(),
                      .frozen = header.at("frozen").get<std::map<std::string, std::uint64_t>>(),
                      .config = header.at("config").get<std::string>(),
                      .code_version = header.at("code_version").get<std::string>(),
                      .metrics = header.at("metrics").get<std::string>()};
  info.updates = header.value("updates", info.step);  // version 1 has none
  info.grid = header.value("grid", "");
  for (const Json& origin : header.value("origins", Json::array())) {
    info.origins.push_back({origin.at("path"), origin.at("bytes"), origin.at("xxh64")});
  }
  return info;
}

std::vector<StoredTensor> checkpoint_tensors(const Json& header) {
  std::vector<StoredTensor> tensors;
  for (const Json& entry : header.at("tensors")) {
    StoredTensor tensor{.name = entry.at("name").get<std::string>(), .moments = entry.at("moments").get<bool>()};
    for (const Json& dim : entry.at("shape")) tensor.shape.push_back(dim.get<std::int64_t>());
    tensor.begins = entry.value("begins", std::vector<std::int64_t>{0});  // version 1: whole tensors
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

std::string checkpoint_place(const std::string& tensor, int array) {
  return fmt::format("tensors/{}/{}", tensor, checkpoint_arrays[static_cast<std::size_t>(array)]);
}

}  // namespace skymm
