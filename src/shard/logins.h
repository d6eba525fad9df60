#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>

#include "postern/auth/checker.h"
#include "postern/base/object_pool.h"
#include "postern/inbound/inbound.h"
#include "postern/io/mailbox.h"
#include "postern/io/timer.h"
#include "postern/shared/guesses.h"

namespace postern::shard {

/// One worker's checks of names and passwords: each goes to the threads that hash, comes back by
/// the mailbox, and where it was a wrong guess of somebody who has guessed before, waits a while.
/// The worker's thread.
class Logins {
   public:
    /// Who is told what came of a check; the check is gone behind the call.
    class Asker {
       public:
        virtual void authenticated(inbound::PasswordCheck& check, const mail::Reply& reply) = 0;

       protected:
        ~Asker() = default;
    };

    static constexpr std::uint32_t checks_max = 1024;  // at a time, the held back ones included

    /// All outlive it.
    Logins(
        io::Ring& ring,
        io::Timers& timers,
        io::Mailbox& mailbox,
        Asker& asker,
        auth::Checker& checker,
        shared::Guesses& guesses);

    /// As inbound::World. `passwords`: the listener's; null: it has none any more. `client`: its
    /// address (shared::client_key).
    inbound::PasswordCheck* check(
        const std::shared_ptr<const auth::Passwords>& passwords,
        std::uint64_t client,
        const smtp::Credentials& credentials,
        mail::Reply& refusal);
    void forget(inbound::PasswordCheck& check);

    /// Nothing is under way. REQUIRED before the mailbox goes.
    bool idle() const { return checks_.used() == 0; }

    std::uint64_t held_octets() const { return checks_.held_octets(); }

    static std::uint64_t memory();

   private:
    struct Check;
    enum class Result : std::uint8_t { unknown, right, wrong, exhausted };

    void checked(Check& check);
    void answer(Check& check, const mail::Reply& reply);

    io::Ring& ring_;
    io::Timers& timers_;
    io::Mailbox& mailbox_;
    Asker& asker_;
    auth::Checker& checker_;
    shared::Guesses& guesses_;

    struct Check final : inbound::PasswordCheck, auth::Job, io::Letter, io::Timer {
        Check(
            Logins& its_owner,
            std::shared_ptr<const auth::Passwords> its_passwords,
            std::uint64_t its_client,
            const smtp::Credentials& credentials);

        // --- on a thread of the checker's ---
        void run(auth::Hasher& hasher) override;

        // --- on the worker's ---
        void deliver() override { owner.checked(*this); }

        Logins& owner;
        const std::shared_ptr<const auth::Passwords> passwords;
        const std::uint64_t client;
        std::atomic<bool> wanted{true};  // somebody waits for what comes of it
        bool hashing = true;             // it is with the checker, or on its way back
        Result result = Result::unknown;
        std::uint16_t name_size = 0;
        std::uint16_t password_size = 0;
        std::array<char, auth::name_octets_max> name;
        std::array<char, auth::password_octets_max> password;
    };

    base::ObjectPool<Check> checks_{checks_max};
};

}  // namespace postern::shard
