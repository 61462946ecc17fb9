import DirectMMU
import GuestMemory
public import HostMemory
import MachineEvents
import Mutations
import PageTables
public import PagingUnits
import ShadowMMU

/// The host door: what the host process does to its pages, the machine's tables follow (KVM:
/// `kvm_mmu_notifier_ops`).
extension VirtualMachine: HostNotifier {
  /// Takes every mapping of a range away and makes faults on it wait.
  ///
  /// Returns when no processor can reach the range's pages any more.
  public func invalidateRangeStart(_ range: Range<HostVirtual>) {
    tables.tap.record(.unmapRange(range.lowerBound, range.upperBound))
    slots.invalidations.notifierBegan()
    tables.interleaver.reach(.beforeInvalidation)
    var isBegun = false
    for space in AddressSpace.allCases {
      var overlaps = slots.slots(at: range, in: space)
      while let part = slots.next(&overlaps) {
        if !isBegun {
          tables.lock.lockExclusive()
          slots.invalidations.begin()
          isBegun = true
        }
        slots.invalidations.add(part.frames)
        if configuration.mmu == .shadow {
          shadow.zapLeaves(of: part.frames, in: part.slot, tables, process.host).pay(
            tables.flusher)
          continue
        }
        if Mutation.subpageMapForgottenOnMigration.isActive { openSubpages(of: part) }
        let owed = direct.zapLeaves(of: part.frames, in: space, .all, tables, process.host)
        if Mutation.hapUnmapWithoutFlush.isActive {
          owed.settle()
        } else if Mutation.notifierUnlockBeforeFlush.isActive {
          tables.lock.unlockExclusive()
          tables.interleaver.reach(.insideInvalidation)
          owed.pay(tables.flusher)
          tables.lock.lockExclusive()
        } else {
          owed.pay(tables.flusher)
        }
        if Mutation.notifierMissesSecondSlot.isActive { break }
      }
    }
    if isBegun {
      tables.lock.unlockExclusive()
      tables.interleaver.reach(.insideInvalidation)
    }
  }

  /// Lets faults on the range go on, and makes those that were under way start again.
  public func invalidateRangeEnd(_ range: Range<HostVirtual>) {
    if hasSlot(in: range) {
      // The host has made its change.
      tables.interleaver.reach(.insideInvalidation)
      tables.lock.lockExclusive()
      if !Mutation.invalidationNeverEnds.isActive {
        slots.invalidations.end(letting: tables.interleaver)
      }
      tables.lock.unlockExclusive()
    }
    slots.invalidations.notifierEnded()
  }

  private func hasSlot(in range: Range<HostVirtual>) -> Bool {
    for space in AddressSpace.allCases {
      var overlaps = slots.slots(at: range, in: space)
      if slots.next(&overlaps) != nil { return true }
    }
    return false
  }

  /// Clears the accessed state of a range, flushing if any page was young.
  public func clearFlushYoung(_ range: Range<HostVirtual>) -> Bool {
    tables.tap.record(.ageRange(range.lowerBound, range.upperBound))
    return age(range, .paid)
  }

  /// Clears the accessed state of a range and leaves processors alone, where accessed bits exist.
  public func clearYoung(_ range: Range<HostVirtual>) -> Bool {
    tables.tap.record(.ageRange(range.lowerBound, range.upperBound))
    return age(range, .settled)
  }

  /// Whether the page was accessed; changes nothing.
  public func testYoung(_ address: HostVirtual) -> Bool {
    tables.tap.record(.testAge(address))
    // The slots are read, so that a change of memslots has to wait for this look to end.
    let look = tables.quiet.enterAsVisitor(letting: tables.interleaver)
    defer { tables.quiet.leave(look) }
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    let page = address.pageStart..<(address.pageStart + 4096)
    for space in AddressSpace.allCases {
      var overlaps = slots.slots(at: page, in: space)
      while let part = slots.next(&overlaps) {
        if configuration.mmu == .shadow {
          if shadow.isYoung(part.frames, in: part.slot, tables, process.host) { return true }
          continue
        }
        if direct.isYoung(part.frames, in: space, tables) { return true }
      }
    }
    return false
  }

  private enum Payment { case paid, settled }

  private func age(_ range: Range<HostVirtual>, _ payment: Payment) -> Bool {
    // The slots are read, so that a change of memslots has to wait for this look to end.
    let look = tables.quiet.enterAsVisitor(letting: tables.interleaver)
    defer { tables.quiet.leave(look) }
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    var owed = PendingFlush()
    for space in AddressSpace.allCases {
      var overlaps = slots.slots(at: range, in: space)
      while let part = slots.next(&overlaps) {
        if configuration.mmu == .shadow {
          owed.add(shadow.age(part.frames, in: part.slot, tables, process.host))
          continue
        }
        owed.add(direct.age(part.frames, in: space, tables, process.host))
      }
    }
    // Every leaf that was young lost its mark and owes a flush for it.
    let wasYoung = owed.isOwed
    // Without accessed bits age is told by missing rights, which a processor must not go on using.
    if payment == .paid || !tables.encoding.hasAccessedDirty {
      owed.pay(tables.flusher)
    } else {
      owed.settle()
    }
    return wasYoung
  }
}
