import HardwareModel
import PageTables
import VirtualMachine

@testable import ShadowMMU

extension AccessOutcome {
  /// Where the access goes, of one that is performed as any other.
  var place: Translation? {
    if case .translated(let place) = self { place } else { nil }
  }

  /// Where a store to a table of the guest's goes.
  var tableStore: Translation? {
    if case .tableStore(let place) = self { place } else { nil }
  }
}

extension ShadowRoot {
  /// The shadow page of the guest's own root table.
  var page: ShadowPageID? {
    if case .page(let id) = self { id } else { nil }
  }
}
