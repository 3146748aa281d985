#include "support/golden.hpp"

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.hpp"

namespace skymm::testing {

Golden::Golden(const std::string& name)
    : file_(std::string(SKYMM_SOURCE_DIR) + "/tests/golden/" + name + ".safetensors") {
  std::ifstream in(file_, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  check(bytes.size() > 8, "cannot read {}", file_);
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  const auto index = nlohmann::json::parse(bytes.substr(8, header));
  for (const auto& [key, entry] : index.items()) {
    if (key == "__metadata__") continue;
    Shape shape;
    for (const std::int64_t dim : entry["shape"]) shape.push_back(dim);
    const char* data = bytes.data() + 8 + header + entry["data_offsets"][0].get<std::size_t>();
    const auto count = static_cast<std::size_t>(shape.numel());
    if (entry["dtype"] == "F32") {
      std::vector<float> values(count);
      std::memcpy(values.data(), data, 4 * count);
      tensors_[key] = Tensor::from(values, shape);
    } else {
      std::vector<std::int32_t> values(count);
      std::memcpy(values.data(), data, 4 * count);
      tensors_[key] = Tensor::from(values, shape);
    }
  }
}

const Tensor& Golden::at(const std::string& name) const {
  const auto found = tensors_.find(name);
  check(found != tensors_.end(), "{} holds no tensor '{}'", file_, name);
  return found->second;
}

void load(Module& module, const Golden& golden, const Rename& rename) {
  for (const NamedParameter& entry : all_parameters(module)) {
    const std::string name = rename(entry.name);
    if (!name.empty()) entry.parameter->value.copy_from(golden.at(name));
  }
}

void expect_gradients(Module& module, const Golden& golden, const Rename& rename, double bound,
                      const std::string& prefix) {
  int compared = 0;
  for (const NamedParameter& entry : trainable_parameters(module)) {
    const std::string name = rename(entry.name);
    if (name.empty()) continue;
    SCOPED_TRACE(entry.name);
    ASSERT_TRUE(entry.parameter->gradient.defined());
    EXPECT_CLOSE(entry.parameter->gradient, golden.values(prefix + name), bound);
    ++compared;
  }
  EXPECT_GT(compared, 0);
}

}  // namespace skymm::testing
