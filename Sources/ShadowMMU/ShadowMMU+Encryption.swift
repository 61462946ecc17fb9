import HostMemory
import Mutations
import PageTables
import PagingUnits

/// Tables on a host that encrypts its memory.
///
/// Every entry that leads to memory says that it is encrypted, and so does CR3, unless it has 32
/// bits: then it cannot, and the table to which it points is not (KVM: `mmu_alloc_root`'s
/// `set_memory_decrypted`).
extension ShadowMMU {
  /// Whether CR3 can say that the table to which it points is encrypted.
  ///
  /// It cannot with PAE paging of the host, which is what runs a guest of three levels and less
  /// whose own tables are shadowed; nested CR3 has 64 bits on every host that encrypts.
  func rootSaysEncrypted(_ state: borrowing ShadowState) -> Bool {
    state.rootRole.depth > 3 && !Mutation.rootDecryptedUnderLongMode.isActive
  }

  /// Has the table that CR3 may point to in the form that CR3 can say; it is empty if that changed.
  ///
  /// * `empty`: what its entries are when there is none.
  func suit(
    _ table: HostFrame, empty: UInt64, _ state: borrowing ShadowState,
    _ tables: borrowing PageTables, _ host: borrowing HostMemory
  ) {
    guard tables.encoding.encryption != 0, !Mutation.paeRootLeftEncrypted.isActive else { return }
    let isEncrypted = !host.records.isDecrypted(table)
    guard isEncrypted != rootSaysEncrypted(state) else { return }
    if isEncrypted { host.decrypt(table) } else { host.encrypt(table) }
    tables.memory.fillFrame(table, with: empty)
  }

  /// Has a table encrypted again that is about to be given back; its entries are gone.
  func encryptAgain(
    _ table: HostFrame, empty: UInt64, _ tables: borrowing PageTables,
    _ host: borrowing HostMemory
  ) {
    guard host.records.isDecrypted(table), !Mutation.paeRootFreedDecrypted.isActive else { return }
    host.encrypt(table)
    tables.memory.fillFrame(table, with: empty)
  }
}
