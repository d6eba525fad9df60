#pragma once

#include <memory>
#include <span>
#include <vector>

#include "host.h"

namespace postern::relay {

/// Where mail of one name waits, and the hosts that take it.
class Pool final : public base::ListLink<Waiting>, public base::ListLink<Leaving> {
   public:
    Pool(
        Corridor& corridor,
        std::uint32_t number,
        const PoolSettings& settings,
        std::shared_ptr<const tls::ClientContext> tls);

    void set_hosts(std::span<const HostAddress> hosts, Absence absence);
    /// No message is chosen for it any more.
    void retire();

    bool retired() const { return retired_; }

    void hold() { ++holds_; }

    void let_go() { --holds_; }

    std::uint32_t held() const { return holds_; }

    bool slow();
    std::uint32_t room() const;

    /// Ends and frees what is to go and has nothing to do. False: nothing that is to go is left.
    bool clear_away();

    void submit(mail::Submission& submission);
    /// Gives what waits to the hosts, level by level.
    void distribute();
    /// The next message for a connection, or nullptr where another one, idle or about to be open,
    /// shall have it. Only from within distribute().
    Transfer* next(Connection& connection, Host& host);
    /// Waits again, before all others.
    void wait_again(Transfer& transfer);
    /// It waits no more, and is released. REQUIRES: it waits.
    void take_back(Transfer& transfer);
    /// Its wait is over, or its sender must have an answer.
    void is_due(Transfer& transfer);
    TransactionMax transaction_max() const;
    bool lacks_smtputf8() const;

    void close_all();
    /// No more mail is awaited: connections that have nothing to do end.
    void wind_down();

    void settle_waiting() { settle(out_of_reach(), 0); }

    bool has_waiting() const { return waiting_count_ > 0; }

    /// It has no connection and no mail.
    bool nothing_open() const;

    bool keeps_quiet() const { return holds_ == 0 && nothing_open(); }

    const std::uint32_t number;
    const PoolSettings settings;
    const std::shared_ptr<const tls::ClientContext> tls_context;  // null: none
    const smtp::ClientSettings client_settings;
    const smtp::ClientSettings plain_settings;  // where TLS was offered and was not to be had
    const std::string definition;               // definition_of(settings)

   private:
    struct Look final : io::Timer {
        Look() : io::Timer([](io::Timer&) {}) {}
    };

    mail::Outcome::Kind out_of_reach() const;
    void settle(mail::Outcome::Kind kind, std::uint32_t keep);
    void settle_absent();
    void begin_to_leave();
    void wait(Transfer& transfer);
    void set_patience(Transfer& transfer);
    void waited_too_long(Transfer& transfer);
    void leave(Transfer& transfer);
    void give_out();
    void give_to_idle();
    void give_to_busy(Host& host);
    void set_quotas();
    std::uint32_t expected();
    template <class Use>
    void for_each_host(Use&& use) const;

    Corridor& corridor_;
    std::vector<std::unique_ptr<Host>> hosts_;  // by level
    std::vector<std::unique_ptr<Host>> leaving_;
    Absence absence_ = Absence::pending;
    bool retired_ = false;
    std::uint32_t holds_ = 0;
    base::List<Transfer::Age, ByAge> ages_;  // of all that it was given and is not done with
    base::List<smtp::Transfer> waiting_;
    std::uint32_t waiting_count_ = 0;
    // Those of one level that share what waits, while it is given out.
    std::vector<Host*> sharing_;
    bool others_ = false;   // there is more than one of them
    std::size_t turn_ = 0;  // who gets what is left over in equal shares
    Look look_;             // when what waits is to be looked at again though nothing happened
};

}  // namespace postern::relay
