#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "postern/base/result.h"
#include "postern/config/config.h"
#include "queue_request.h"

/// The admin server (product.md, section 2, [admin]): HTTP on threads of its own, on a Unix socket
/// or TCP. It knows nothing of workers: what it answers comes from Answers. Requests are small and
/// soon over, or they are closed, and those that are not yet whole hold up nobody.
namespace postern::app {

/// An HTTP answer.
struct AdminAnswer {
    int status = 200;
    std::string type = "text/plain";
    std::string body;  // with a newline at its end
};

/// What requests ask for. Each may be called from several threads at a time, from `start` until the
/// server is destroyed.
struct AdminAnswers {
    std::function<AdminAnswer()> metrics;
    std::function<AdminAnswer()> health;
    std::function<AdminAnswer()> ready;
    /// Addresses, the client's address or "", as JSON.
    std::function<AdminAnswer(const std::vector<std::string>&, const std::string&, bool)> route;
    /// Dry run, force.
    std::function<AdminAnswer(bool, bool)> reload;
    /// Of the mail that waits: with no change a list, else a change.
    std::function<AdminAnswer(shard::QueueChange, const QueueParameters&)> queue;
    /// What a request over TCP must show now to be obeyed; empty: none is.
    std::function<std::string()> token;
};

class Admin {
   public:
    /// The listening socket, its folder made where it is missing. The error says what stands in the
    /// way.
    static base::Result<int> listen(const config::AdminAddress& address);
    /// Serves there; the socket is its own.
    static std::unique_ptr<Admin> serve(
        const config::AdminAddress& address, int listener, AdminAnswers answers);
    virtual ~Admin() = default;

   protected:
    Admin() = default;
};

}  // namespace postern::app
