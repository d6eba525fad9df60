#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "postern/spool/kept.h"

namespace postern::spool {

/// Gives what is the same the same memory, for as many replies as have been said lately. One
/// thread.
class SharedReplies {
   public:
    SharedReply of(std::string_view text, std::optional<std::string_view> host = {}) {
        const std::hash<std::string_view> hash;
        SharedReply& shared =
            replies_[(hash(text) + 31 * hash(host.value_or(""))) % replies_.size()];
        if (shared == nullptr || shared->text != text || shared->host != host) {
            shared = std::make_shared<const KeptReply>(KeptReply{
                std::string(text), host ? std::optional<std::string>(*host) : std::nullopt});
        }
        return shared;
    }

   private:
    std::array<SharedReply, 256> replies_;
};

}  // namespace postern::spool
