public import HostMemory
import PageTables
public import PagingUnits

/// What the host does to the guest's memory, with the machine told (the host's half of the host
/// door).
extension VirtualMachine {
  /// Drops the pages of a range; the next access gets new ones (Linux: `MADV_DONTNEED`).
  public func unmapHost(_ range: Range<HostVirtual>) -> HostChangeOutcome {
    defer { reclaimTables() }
    return process.unmap(range, telling: self)
  }

  /// Changes what the host process may do with a range (Linux: `mprotect`).
  public func protectHost(
    _ range: Range<HostVirtual>, as protection: HostProtection
  ) throws(HostRegionError) {
    defer { reclaimTables() }
    try process.protect(range, protection, telling: self)
  }

  /// Moves the page at an address to another frame, its content kept.
  public func migrateHost(_ address: HostVirtual) -> HostChangeOutcome {
    defer { reclaimTables() }
    return process.migrate(address, telling: self)
  }

  /// Splits the huge page at an address into pages of the size below.
  public func splitHost(_ address: HostVirtual) -> HostChangeOutcome {
    defer { reclaimTables() }
    return process.split(at: address, telling: self)
  }

  /// Joins the small pages around an address into one of `level`.
  public func collapseHost(_ address: HostVirtual, to level: Level) -> HostChangeOutcome {
    defer { reclaimTables() }
    return process.collapse(at: address, to: level, telling: self)
  }

  /// Takes a range out of the host process, with everything in it (Linux: `munmap` of whole
  /// regions); parts of regions that start before it stay.
  public func removeHost(_ range: Range<HostVirtual>) {
    defer { reclaimTables() }
    var address = range.lowerBound
    while address < range.upperBound {
      guard let region = process.region(containing: address),
        region.range.lowerBound == address
      else {
        address = address + 4096
        continue
      }
      // The region was there a moment ago; if somebody else removes it too, it is gone either way.
      try? process.remove(regionAt: address, telling: self)
      address = region.range.upperBound
    }
  }

  /// Takes the pages of a range out of memory, their bytes kept; the next touch brings each back.
  ///
  /// `done` when any page was taken out.
  public func swapOutHost(_ range: Range<HostVirtual>) -> HostChangeOutcome {
    defer { reclaimTables() }
    return process.swapOut(range, telling: self)
  }

  /// Brings the pages of a range back into memory that were taken out; `done` when any was.
  public func swapInHost(_ range: Range<HostVirtual>) -> HostChangeOutcome {
    process.swapIn(range)
  }

  /// Takes the right to write from the host's entries of a range until each is next written.
  public func writeProtectHost(_ range: Range<HostVirtual>) -> HostChangeOutcome {
    defer { reclaimTables() }
    return process.writeProtect(range, telling: self)
  }

  /// Shares the pages of a range with a forked copy of the host process: the next write to each
  /// makes a copy (Linux: `fork`).
  public func shareHost(_ range: Range<HostVirtual>) -> HostChangeOutcome {
    defer { reclaimTables() }
    return process.shareForCopy(range, telling: self)
  }

  /// Lets the forked copy give back what it has of a range (Linux: the child's exit).
  public func dropHostCopy(of range: Range<HostVirtual>) {
    process.dropCopy(of: range)
  }

  /// Lets the pages of a range that hold the same bytes share a frame until one is written.
  public func mergeHost(_ range: Range<HostVirtual>) -> HostChangeOutcome {
    defer { reclaimTables() }
    return process.merge(range, telling: self)
  }

  /// Lets the page at an address share the frame of another with the same bytes.
  public func mergeHost(_ address: HostVirtual, into source: HostVirtual) -> HostChangeOutcome {
    defer { reclaimTables() }
    return process.merge(address, into: source, telling: self)
  }

  /// Takes the page at an address out of use because its memory is damaged.
  public func poisonHost(_ address: HostVirtual) -> HostChangeOutcome {
    defer { reclaimTables() }
    return process.poison(address, telling: self)
  }

  /// Whether guest or host used a page of a range since it was last asked.
  public func ageHost(
    _ range: Range<HostVirtual>, _ question: HostAddressSpace.AgeQuestion
  ) -> Bool {
    process.age(range, question, telling: self)
  }

  /// Frees the tables that a change left behind.
  private func reclaimTables() {
    operations.lock()
    tables.reclaim(to: process.host)
    operations.unlock()
  }
}
