#pragma once

#include <atomic>
#include <cstdint>

#include "postern/shared/budget.h"
#include "postern/shared/client_table.h"
#include "postern/shared/kept_answers.h"

namespace postern::shard {

/// The few facts that all workers know (room `shared`), and how many connections there are in all. Made by the control thread,
/// outlives the workers.
struct Common {
    shared::ClientTable clients;
    shared::Budget bodies;
    shared::KeptAnswers kept;
    std::atomic<std::uint32_t> connections{0};
    std::uint32_t connections_max = 0;
};

}  // namespace postern::shard
