#include "io/picturebook/concepts.hpp"

#include <algorithm>

namespace skymm {

const std::array<Named, category_count> category_phrases = {{{"an animal", "动物"},
                                                             {"a plant", "植物"},
                                                             {"some food", "食物"},
                                                             {"a vehicle", "交通工具"},
                                                             {"a building", "建筑"},
                                                             {"some clothing", "衣物"},
                                                             {"an instrument", "乐器"},
                                                             {"a tool", "工具"},
                                                             {"a ball", "球"},
                                                             {"a decoration", "装饰品"}}};

// In the order of Property's bits.
const std::array<Named, property_count> property_phrases = {{{"that can fly", "会飞的"},
                                                             {"that lives in water", "生活在水里的"},
                                                             {"that has wheels", "有轮子的"},
                                                             {"that one can eat", "能吃的"},
                                                             {"that one can wear", "能穿戴的"},
                                                             {"that makes music", "能演奏音乐的"}}};

// clang-format off
const std::vector<Concept>& concepts() {
  static const std::vector<Concept> table = {
    {0x1F412, "monkey", "monkey", "猴子", Category::animal, 0, false},
    {0x1F415, "dog", "dog", "狗", Category::animal, 0, false},
    {0x1F43A, "wolf", "wolf", "狼", Category::animal, 0, false},
    {0x1F98A, "fox", "fox", "狐狸", Category::animal, 0, false},
    {0x1F408, "cat", "cat", "猫", Category::animal, 0, false},
    {0x1F981, "lion", "lion", "狮子", Category::animal, 0, false},
    {0x1F405, "tiger", "tiger", "老虎", Category::animal, 0, false},
    {0x1F40E, "horse", "horse", "马", Category::animal, 0, false},
    {0x1F984, "unicorn", "unicorn", "独角兽", Category::animal, unsure(can_fly), false},
    {0x1F993, "zebra", "zebra", "斑马", Category::animal, 0, false},
    {0x1F98C, "deer", "deer", "鹿", Category::animal, unsure(can_be_eaten), false},
    {0x1F404, "cow", "cow", "奶牛", Category::animal, unsure(can_be_eaten), false},
    {0x1F416, "pig", "pig", "猪", Category::animal, unsure(can_be_eaten), false},
    {0x1F411, "sheep", "sheep", "绵羊", Category::animal, unsure(can_be_eaten), false},
    {0x1F42A, "camel", "camel", "骆驼", Category::animal, 0, false},
    {0x1F992, "giraffe", "giraffe", "长颈鹿", Category::animal, 0, false},
    {0x1F418, "elephant", "elephant", "大象", Category::animal, 0, false},
    {0x1F401, "mouse", "mouse", "老鼠", Category::animal, 0, false},
    {0x1F407, "rabbit", "rabbit", "兔子", Category::animal, unsure(can_be_eaten), false},
    {0x1F43F, "squirrel", "squirrel", "松鼠", Category::animal, 0, false},
    {0x1F994, "hedgehog", "hedgehog", "刺猬", Category::animal, 0, false},
    {0x1F987, "bat", "bat", "蝙蝠", Category::animal, can_fly, false},
    {0x1F43C, "panda", "panda", "熊猫", Category::animal, 0, false},
    {0x1F413, "rooster", "rooster", "公鸡", Category::animal, unsure(can_fly) | unsure(can_be_eaten), false},
    {0x1F427, "penguin", "penguin", "企鹅", Category::animal, unsure(lives_in_water), false},
    {0x1F985, "eagle", "eagle", "老鹰", Category::animal, can_fly, false},
    {0x1F989, "owl", "owl", "猫头鹰", Category::animal, can_fly, false},
    {0x1F99A, "peacock", "peacock", "孔雀", Category::animal, unsure(can_fly), false},
    {0x1F438, "frog", "frog", "青蛙", Category::animal, unsure(lives_in_water), false},
    {0x1F40A, "crocodile", "crocodile", "鳄鱼", Category::animal, unsure(lives_in_water), false},
    {0x1F422, "turtle", "turtle", "乌龟", Category::animal, unsure(lives_in_water), false},
    {0x1F40D, "snake", "snake", "蛇", Category::animal, 0, false},
    {0x1F409, "dragon", "dragon", "龙", Category::animal, unsure(can_fly), false},
    {0x1F40B, "whale", "whale", "鲸鱼", Category::animal, lives_in_water, false},
    {0x1F42C, "dolphin", "dolphin", "海豚", Category::animal, lives_in_water, false},
    {0x1F420, "fish", "fish", "鱼", Category::animal, lives_in_water | unsure(can_be_eaten), false},
    {0x1F419, "octopus", "octopus", "章鱼", Category::animal, lives_in_water | unsure(can_be_eaten), false},
    {0x1F40C, "snail", "snail", "蜗牛", Category::animal, unsure(can_be_eaten), false},
    {0x1F98B, "butterfly", "butterfly", "蝴蝶", Category::animal, can_fly, false},
    {0x1F41D, "bee", "bee", "蜜蜂", Category::animal, can_fly, false},
    {0x1F577, "spider", "spider", "蜘蛛", Category::animal, 0, false},
    {0x1F980, "crab", "crab", "螃蟹", Category::animal, lives_in_water | unsure(can_be_eaten), false},
    {0x1F339, "rose", "rose", "玫瑰", Category::plant, 0, false},
    {0x1F33B, "sunflower", "sunflower", "向日葵", Category::plant, unsure(can_be_eaten), false},
    {0x1F337, "tulip", "tulip", "郁金香", Category::plant, 0, false},
    {0x1F332, "pine", "pine", "松树", Category::plant, 0, false},
    {0x1F334, "palm", "palm", "棕榈树", Category::plant, 0, false},
    {0x1F335, "cactus", "cactus", "仙人掌", Category::plant, 0, false},
    {0x1F340, "clover", "clover", "四叶草", Category::plant, 0, false},
    {0x1F341, "maple", "maple", "枫叶", Category::plant, 0, false},
    {0x1F344, "mushroom", "mushroom", "蘑菇", Category::plant, unsure(can_be_eaten), false},
    {0x1F349, "watermelon", "watermelon", "西瓜", Category::food, can_be_eaten, false},
    {0x1F34B, "lemon", "lemon", "柠檬", Category::food, can_be_eaten, false},
    {0x1F34C, "banana", "banana", "香蕉", Category::food, can_be_eaten, false},
    {0x1F34D, "pineapple", "pineapple", "菠萝", Category::food, can_be_eaten, false},
    {0x1F34E, "apple", "apple", "苹果", Category::food, can_be_eaten, false},
    {0x1F350, "pear", "pear", "梨", Category::food, can_be_eaten, false},
    {0x1F351, "peach", "peach", "桃子", Category::food, can_be_eaten, false},
    {0x1F353, "strawberry", "strawberry", "草莓", Category::food, can_be_eaten, false},
    {0x1F345, "tomato", "tomato", "西红柿", Category::food, can_be_eaten, false},
    {0x1F346, "eggplant", "eggplant", "茄子", Category::food, can_be_eaten, false},
    {0x1F955, "carrot", "carrot", "胡萝卜", Category::food, can_be_eaten, false},
    {0x1F336, "chili", "chili", "辣椒", Category::food, can_be_eaten, false},
    {0x1F950, "croissant", "croissant", "羊角面包", Category::food, can_be_eaten, false},
    {0x1F95A, "egg", "egg", "鸡蛋", Category::food, can_be_eaten, false},
    {0x1F354, "hamburger", "hamburger", "汉堡", Category::food, can_be_eaten, false},
    {0x1F355, "pizza", "pizza", "披萨", Category::food, can_be_eaten, false},
    {0x1F32D, "hotdog", "hotdog", "热狗", Category::food, can_be_eaten, false},
    {0x1F359, "onigiri", "onigiri", "饭团", Category::food, can_be_eaten, false},
    {0x1F96E, "mooncake", "mooncake", "月饼", Category::food, can_be_eaten, false},
    {0x1F95F, "dumpling", "dumpling", "饺子", Category::food, can_be_eaten, false},
    {0x1F361, "dango", "dango", "团子", Category::food, can_be_eaten, false},
    {0x1F363, "sushi", "sushi", "寿司", Category::food, can_be_eaten, false},
    {0x1F368, "sundae", "sundae", "冰淇淋", Category::food, can_be_eaten, false},
    {0x1F369, "donut", "donut", "甜甜圈", Category::food, can_be_eaten, false},
    {0x1F36A, "cookie", "cookie", "饼干", Category::food, can_be_eaten, false},
    {0x1F382, "cake", "cake", "蛋糕", Category::food, can_be_eaten, false},
    {0x1F36D, "lollipop", "lollipop", "棒棒糖", Category::food, can_be_eaten, false},
    {0x1F68C, "bus", "bus", "公交车", Category::vehicle, has_wheels, false},
    {0x1F691, "ambulance", "ambulance", "救护车", Category::vehicle, has_wheels, false},
    {0x1F695, "taxi", "taxi", "出租车", Category::vehicle, has_wheels, false},
    {0x1F697, "car", "car", "汽车", Category::vehicle, has_wheels, false},
    {0x1F69C, "tractor", "tractor", "拖拉机", Category::vehicle, has_wheels, false},
    {0x1F6B2, "bicycle", "bicycle", "自行车", Category::vehicle, has_wheels, false},
    {0x1F3CD, "motorcycle", "motorcycle", "摩托车", Category::vehicle, has_wheels, false},
    {0x1F682, "train", "train", "火车", Category::vehicle, has_wheels, false},
    {0x26F5, "sailboat", "sailboat", "帆船", Category::vehicle, 0, false},
    {0x2708, "airplane", "airplane", "飞机", Category::vehicle, can_fly | unsure(has_wheels), false},
    {0x1F681, "helicopter", "helicopter", "直升机", Category::vehicle, can_fly | unsure(has_wheels), false},
    {0x1F680, "rocket", "rocket", "火箭", Category::vehicle, can_fly, false},
    {0x1F6F8, "ufo", "ufo", "飞碟", Category::vehicle, can_fly, false},
    {0x1F3E0, "house", "house", "房子", Category::building, 0, false},
    {0x1F3F0, "castle", "castle", "城堡", Category::building, 0, false},
    {0x26EA, "church", "church", "教堂", Category::building, 0, false},
    {0x1F3ED, "factory", "factory", "工厂", Category::building, 0, false},
    {0x1F3E5, "hospital", "hospital", "医院", Category::building, 0, false},
    {0x1F3EA, "store", "store", "商店", Category::building, 0, false},
    {0x26FA, "tent", "tent", "帐篷", Category::building, 0, false},
    {0x1F455, "shirt", "shirt", "衬衫", Category::clothing, can_be_worn, false},
    {0x1F457, "dress", "dress", "连衣裙", Category::clothing, can_be_worn, false},
    {0x1F9E3, "scarf", "scarf", "围巾", Category::clothing, can_be_worn, false},
    {0x1F451, "crown", "crown", "皇冠", Category::clothing, can_be_worn, false},
    {0x1F3A9, "hat", "hat", "礼帽", Category::clothing, can_be_worn, false},
    {0x1F460, "heel", "heel", "高跟鞋", Category::clothing, can_be_worn, false},
    {0x1F45F, "sneaker", "sneaker", "跑鞋", Category::clothing, can_be_worn, false},
    {0x1F458, "kimono", "kimono", "和服", Category::clothing, can_be_worn, false},
    {0x1F454, "tie", "tie", "领带", Category::clothing, can_be_worn, false},
    {0x1F3B8, "guitar", "guitar", "吉他", Category::instrument, makes_music, false},
    {0x1F3BB, "violin", "violin", "小提琴", Category::instrument, makes_music, false},
    {0x1F3BA, "trumpet", "trumpet", "小号", Category::instrument, makes_music, false},
    {0x1F941, "drum", "drum", "鼓", Category::instrument, makes_music, false},
    {0x1F3B9, "piano", "piano", "钢琴", Category::instrument, makes_music, false},
    {0x1F3B7, "saxophone", "saxophone", "萨克斯", Category::instrument, makes_music, false},
    {0x1F528, "hammer", "hammer", "锤子", Category::tool, 0, false},
    {0x1FA93, "axe", "axe", "斧头", Category::tool, 0, false},
    {0x1FA9A, "saw", "saw", "锯子", Category::tool, 0, false},
    {0x1F511, "key", "key", "钥匙", Category::tool, 0, false},
    {0x1F527, "wrench", "wrench", "扳手", Category::tool, 0, false},
    {0x1F50D, "magnifier", "magnifier", "放大镜", Category::tool, 0, false},
    {0x1F9F2, "magnet", "magnet", "磁铁", Category::tool, 0, false},
    {0x1F526, "flashlight", "flashlight", "手电筒", Category::tool, 0, false},
    {0x1F9F9, "broom", "broom", "扫帚", Category::tool, 0, false},
    {0x1F9EE, "abacus", "abacus", "算盘", Category::tool, 0, false},
    {0x26BD, "football", "football", "足球", Category::ball, 0, false},
    {0x1F3C0, "basketball", "basketball", "篮球", Category::ball, 0, false},
    {0x26BE, "baseball", "baseball", "棒球", Category::ball, 0, false},
    {0x1F9E7, "envelope", "envelope", "红包", Category::decoration, 0, false},
    {0x1F3EE, "lantern", "lantern", "灯笼", Category::decoration, 0, false},
    {0x1F9E8, "firecracker", "firecracker", "爆竹", Category::decoration, 0, false},
    {0x1F388, "balloon", "balloon", "气球", Category::decoration, unsure(can_fly), false},
    {0x1F381, "gift", "gift", "礼物", Category::decoration, 0, false},
    {0x1F383, "pumpkin", "pumpkin", "南瓜灯", Category::decoration, unsure(can_be_eaten), false},
    {0x1F390, "chime", "chime", "风铃", Category::decoration, unsure(makes_music), false},
    {0x1F38F, "streamer", "streamer", "鲤鱼旗", Category::decoration, unsure(can_fly), false},
    {0x1FA81, "kite", "kite", "风筝", Category::decoration, can_fly, false},
    {0x1F004, "mahjong", "mahjong", "红中", Category::decoration, 0, false},
    {0x1F98D, "gorilla", "gorilla", "大猩猩", Category::animal, 0, true},
    {0x1F986, "duck", "duck", "鸭子", Category::animal, can_fly | unsure(lives_in_water) | unsure(can_be_eaten), true},
    {0x1F988, "shark", "shark", "鲨鱼", Category::animal, lives_in_water | unsure(can_be_eaten), true},
    {0x1F998, "kangaroo", "kangaroo", "袋鼠", Category::animal, 0, true},
    {0x1F428, "koala", "koala", "考拉", Category::animal, 0, true},
    {0x1F982, "scorpion", "scorpion", "蝎子", Category::animal, 0, true},
    {0x1F41E, "ladybug", "ladybug", "瓢虫", Category::animal, can_fly, true},
    {0x1F33C, "daisy", "daisy", "雏菊", Category::plant, 0, true},
    {0x1F33A, "hibiscus", "hibiscus", "芙蓉", Category::plant, 0, true},
    {0x1F347, "grape", "grape", "葡萄", Category::food, can_be_eaten, true},
    {0x1F966, "broccoli", "broccoli", "西兰花", Category::food, can_be_eaten, true},
    {0x1F32E, "taco", "taco", "玉米卷", Category::food, can_be_eaten, true},
    {0x1F968, "pretzel", "pretzel", "椒盐卷饼", Category::food, can_be_eaten, true},
    {0x1F692, "firetruck", "firetruck", "消防车", Category::vehicle, has_wheels, true},
    {0x1F6A2, "ship", "ship", "轮船", Category::vehicle, 0, true},
    {0x1F3EF, "pagoda", "pagoda", "天守", Category::building, 0, true},
    {0x1F452, "bonnet", "bonnet", "女帽", Category::clothing, can_be_worn, true},
    {0x1F9E6, "sock", "sock", "袜子", Category::clothing, can_be_worn, true},
    {0x1F4EF, "horn", "horn", "号角", Category::instrument, makes_music, true},
    {0x1F52D, "telescope", "telescope", "望远镜", Category::tool, 0, true},
    {0x2702, "scissor", "scissor", "剪刀", Category::tool, 0, true},
    {0x1F3D0, "volleyball", "volleyball", "排球", Category::ball, 0, true},
    {0x1F9F8, "teddy", "teddy", "泰迪熊", Category::decoration, 0, true},
    {0x1F3C6, "trophy", "trophy", "奖杯", Category::decoration, 0, true},
  };
  return table;
}
// clang-format on

int training_concepts() {
  static const auto count =
      std::ranges::count_if(concepts(), [](const Concept& concept_) { return !concept_.held_out; });
  return static_cast<int>(count);
}

std::string plural(std::string_view english) {
  struct Irregular {
    std::string_view one, many;
  };
  static constexpr Irregular irregular[] = {
      {"mouse", "mice"},    {"sheep", "sheep"},     {"deer", "deer"},    {"fish", "fish"},   {"wolf", "wolves"},
      {"scarf", "scarves"}, {"tomato", "tomatoes"}, {"cactus", "cacti"}, {"sushi", "sushi"},
  };
  for (const auto& [one, many] : irregular)
    if (english == one) return std::string(many);
  std::string name(english);
  const auto ends = [&](std::string_view tail) { return english.ends_with(tail); };
  if (ends("s") || ends("x") || ends("ch") || ends("sh")) return name + "es";
  if (ends("y") && !ends("ey") && !ends("ay") && !ends("oy")) return name.substr(0, name.size() - 1) + "ies";
  return name + "s";
}

std::string with_article(std::string_view english) {
  const bool vowel = std::string_view("aeiou").find(english.front()) != std::string_view::npos;
  const bool sounds_like_you = english.starts_with("uni") || english.starts_with("ufo");
  return (vowel && !sounds_like_you ? "an " : "a ") + std::string(english);
}

}  // namespace skymm
