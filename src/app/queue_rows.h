#pragma once

#include <cstdint>
#include <string>

#include "postern/shard/queue_view.h"

#include <nlohmann/json.hpp>

/// Messages that wait, as JSON and as text. Pure.
namespace postern::app {

/// One message. `whole`: as it was asked for.
nlohmann::json to_json(const shard::QueueRow& row, bool whole, std::int64_t now_ms);

/// On one line. What is no UTF-8 is replaced.
std::string line_of(const nlohmann::json& json);

/// The heading of a list, and a message of it: a line, and one for each recipient that is shown.
std::string queue_heading();
std::string queue_entry(const nlohmann::json& message);
/// A message as `postern queue show` prints it: all that is known of it.
std::string queue_details(const nlohmann::json& message);

/// "1 message", "2 messages".
std::string messages_text(std::uint64_t count);

}  // namespace postern::app
