#pragma once

#include <array>
#include <functional>
#include <string_view>

#include "postern/spool/kept.h"

namespace postern::spool {

/// Gives who says the same the same text, for as many texts as have been said lately. One thread.
class SharedTexts {
   public:
    SharedText of(std::string_view text) {
        SharedText& shared = texts_[std::hash<std::string_view>{}(text) % texts_.size()];
        if (shared == nullptr || *shared != text) {
            shared = std::make_shared<const std::string>(text);
        }
        return shared;
    }

   private:
    std::array<SharedText, 256> texts_;
};

}  // namespace postern::spool
