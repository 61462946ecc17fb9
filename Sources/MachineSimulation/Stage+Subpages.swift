import HostMemory
import PageTables
import PagingUnits
import SubpageProtection
import VirtualMachine

/// Sub-page protection on a stage.
extension Stage {
  /// Asks something of sub-page protection.
  func perform(_ step: SubpageStep) -> StepResult {
    let first = step.address.frame
    do throws(SubpageError) {
      switch step.request {
      case .enable:
        try machine.enableSubpageProtection()
        return .done
      case .set(let words):
        let access = words.map { SubpageAccess(rawValue: $0) }
        try machine.setSubpageAccess(access, from: first, in: step.space, flags: step.flags)
        return .done
      case .get(let count):
        let frames = first..<(first + UInt64(count))
        let access = try machine.subpageAccess(of: frames, in: step.space, flags: step.flags)
        return .permissions(access.map(\.rawValue))
      }
    } catch {
      return .error(error.name)
    }
  }

  /// The lowest entry of the sub-page-permission tables on the way to an address, or that of a
  /// level.
  func subpageEntry(
    at address: GuestPhysical, _ level: Level?, _ space: AddressSpace
  ) -> StepResult {
    let way = subpageWay(to: address, space)
    guard let entry = level == nil ? way.last : way.first(where: { $0.level == level }) else {
      return .error("ENOENT")
    }
    return .subpageEntry(entry)
  }

  /// The entries of the sub-page-permission tables on the way to an address, from the top down.
  func subpageWay(to address: GuestPhysical, _ space: AddressSpace) -> [SubpageEntryView] {
    var way: [SubpageEntryView] = []
    guard let root = subpageRoot(of: space) else { return way }
    var table = machine.tables.arena[root].frame
    var level: Level? = .level4
    while let here = level {
      let entry = machine.tables.subpageEntry(table, here, of: address.frame)
      way.append(
        SubpageEntryView(
          place: table.address + UInt64(address.frame.index(at: here)) * 8, raw: entry.raw,
          level: here, access: here == .page4K ? entry.access.rawValue : 0))
      guard here > .page4K, entry.isValid else { break }
      table = entry.frame
      level = here.below
    }
    return way
  }

  private func subpageRoot(of space: AddressSpace) -> ShadowPageID? {
    var id = machine.tables.arena.nextActive(after: .none)
    while id != .none {
      let role = machine.tables.arena[id].role
      if role.isSubpageTable && role.space == space && !role.isInvalid { return id }
      id = machine.tables.arena.nextActive(after: id)
    }
    return nil
  }
}

extension SubpageError {
  /// The error's name in KVM's posted series.
  var name: String {
    switch self {
    case .unsupported, .notEnabled: "ENODEV"
    case .nested: "EPERM"
    case .flags, .tooManyPages: "EINVAL"
    case .noMap, .beyondTables: "EFAULT"
    }
  }
}
