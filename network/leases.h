// Who has which address. A lease is a locked file RUNROOT/network/BRIDGE/<address>: the lock goes
// with its last holder, however that one ends, and a free lock is a free address. The content says
// whom the address belongs to, for the hosts files of the others; it means nothing once the lock is
// free. Files are never removed, so nobody ever locks one that has lost its name.
//
// The locks are of the open file description (fcntl(2), F_OFD_SETLK), because those can be asked
// about without being taken. A new lease needs the whole lock and then shares it, so a container
// that joins the network of another keeps the address as well.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "network/address.h"

namespace img::network {

struct Tenant {
  Ipv4 address;
  std::string id;                  // of the container
  std::vector<std::string> names;  // it is called so in the hosts files of the others
};

class [[nodiscard]] Lease {
 public:
  Lease(Ipv4 address, Fd file) : address_(address), file_(std::move(file)) {}
  Lease(Lease&&) = default;
  Lease& operator=(Lease&&) = default;
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease();

  [[nodiscard]] Ipv4 address() const { return address_; }
  // Lets go without a word: another process has the same lease through fork(2).
  void forget() { file_.reset(); }

 private:
  Ipv4 address_;
  Fd file_;
};

class Leases {
 public:
  // `folder` stays the caller's.
  Leases(int folder, const Subnet& subnet) : folder_(folder), subnet_(subnet) {}

  // The lowest free address. `tenant.address` is ignored. Throws code "addresses" when none is
  // free.
  [[nodiscard]] Lease take(const Tenant& tenant) const;
  // This one. Throws Kind::busy with the holder's name, Kind::usage for one outside the subnet.
  [[nodiscard]] Lease takeAddress(Ipv4 address, const Tenant& tenant) const;
  // Together with whoever has it; nullopt: nobody has.
  [[nodiscard]] std::optional<Lease> share(Ipv4 address) const;
  // All that are held now, by address.
  [[nodiscard]] std::vector<Tenant> list() const;
  // New names of a tenant that lives; nothing when somebody else has the address by now.
  void rename(const Tenant& tenant) const;

 private:
  [[nodiscard]] std::optional<Lease> tryTake(Ipv4 address, const Tenant& tenant) const;

  int folder_;
  Subnet subnet_;
};

// What a name in somebody else's hosts file may be made of.
bool isHostName(std::string_view name);

}  // namespace img::network
